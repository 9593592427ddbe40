# Copyright (c) mmnorm contributors. All rights reserved.
import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from sklearn.datasets import load_sample_images
from torch import nn

from mmnorm.checkpoints import FORMATS
from tests.checkpoints.convert import synthetic
from tests.paths import ROOT

TOOL = 'convert_checkpoint'
MINI = ROOT / 'configs/mini'


def config(norm: str) -> str:
    return str(MINI / f'mask-rcnn_r18_fpn_{norm}-all_1xb1-3e_mini-coco.py')


def build(norm: str) -> nn.Module:
    cfg = Config.fromfile(config(norm))
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg.model)


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fails(main, capsys):
    """What the tool says when it has to fail, and leaves no OUT."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as exit_info:
            main(*arguments)
        assert exit_info.value.code == 1
        assert not os.path.exists('out.pth')
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    return run


def test_help_names_every_format(tool):
    said = tool('convert_checkpoint.py', '--help').stdout
    for name, each in FORMATS.items():
        assert f'  {name:<15} {each.description}\n' in said


def test_backbone_of_a_config(main, capsys, tmp_path):
    theirs = synthetic.bcn_file(synthetic.torchvision_file('resnet18'))
    torch.save({f'module.{k}': v for k, v in theirs.items()}, 'in.pth')
    main('bcn-ws', 'in.pth', 'out.pth', '--config', config('bcn-ws'))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == 'converted: 160 tensors'
    assert said[1].startswith('running statistics of 20 norms multiplied by ')
    assert said[2:4] == [
        'unused: 2 (fc.weight, fc.bias)',
        f'for: {FORMATS["bcn-ws"].config}',
    ]
    assert said[4:] == [
        'matched: 160 of 160 in model.backbone',
        'missing: 0',
        'unexpected: 0',
        'wrote out.pth',
    ]
    assert sorted(os.listdir()) == ['in.pth', 'out.pth']
    backbone = build('bcn-ws').backbone
    written = load_checkpoint(backbone, 'out.pth', strict=True)
    assert written['meta'] == {
        'converted': {'format': 'bcn-ws', 'file': 'in.pth'}
    }
    for key, value in backbone.state_dict().items():
        torch.testing.assert_close(value, written['state_dict'][key])


def test_detector_with_its_classes(main, capsys):
    meta = {'dataset_meta': {'classes': ('a', 'b')}, 'cfg': 'norm = BN'}
    state = build('bn').state_dict()
    torch.save({'meta': meta, 'state_dict': state, 'optimizer': {}}, 'in.pth')
    main('bn-gn', 'in.pth', 'out.pth', '--config', config('gn'))
    said = capsys.readouterr().out
    total = len(build('gn').state_dict())
    assert f'matched: {total} of {total} in the model\nmissing: 0\n' in said
    assert 'unused: 108 (backbone.bn1.running_mean, ' in said  # 36 x 3
    assert ' and 103 more)' in said
    assert 'warning: these weights were trained with the statistics' in said
    meta = torch.load('out.pth', weights_only=True)['meta']
    assert meta['dataset_meta'] == {'classes': ('a', 'b')}
    assert 'cfg' not in meta


def test_without_a_config(main, capsys):
    torch.save(synthetic.torchvision_file('resnet18'), 'in.pth')
    main('bn', 'in.pth', 'out.pth')
    said = capsys.readouterr().out.splitlines()
    assert [line.split(':')[0] for line in said] == [
        'converted',
        'unused',
        'for',
        'wrote out.pth',
    ]


def test_what_does_not_fit_is_named(main, capsys):
    state = synthetic.sn_file(synthetic.torchvision_file('resnet18'))
    for key in list(state):
        if key.endswith(('mean_weight', 'var_weight')):
            state[key] = state[key][:2]
    del state['conv1.weight']
    torch.save({'state_dict': state}, 'in.pth')
    main('sn', 'in.pth', 'out.pth', '--config', config('sn'))
    said = capsys.readouterr().out
    assert 'missing: 1 (conv1.weight)\nunexpected: 0\n' in said
    assert 'other shapes: 40 (bn1.mean_weight [2], model [3], ' in said
    assert ' and 35 more)\n' in said


def test_weights_without_standardization_under_it(main, capsys):
    state = synthetic.torchvision_file('resnet18')
    for weight in state.values():
        if weight.dim() == 4:
            weight += 0.3 * weight.std((1, 2, 3), keepdim=True)
    torch.save(state, 'in.pth')
    main('bn', 'in.pth', 'out.pth', '--config', config('bcn-ws'))
    said = capsys.readouterr().out
    assert 'warning: 20 convolutions of the model standardize weights' in said


def check(main, capsys, norm: str, state: dict) -> list[str]:
    torch.save(state, 'in.pth')
    main('bn', 'in.pth', 'out.pth', '--config', config(norm), '--check')
    os.remove('out.pth')
    return capsys.readouterr().out.splitlines()


def test_check_runs_all_parts(main, capsys):
    said = check(main, capsys, 'bcn', build('bn').state_dict())
    title = 'input of each norm, in units of its running statistics:'
    layers = [line for line in said[said.index(title) :] if line[0] == ' ']
    assert {line.split('.')[0].strip() for line in layers} == {
        'backbone',
        'neck',
        'roi_head',
    }
    assert said[-2].startswith('far off: ')
    # The statistics of random weights are 0 and 1.
    off = [line.split()[0] for line in layers if line.endswith('far off')]
    assert said[-2].startswith(f'far off: {len(off)} ({off[0]}')


def test_check_of_a_segmenter_without_statistics(main, capsys):
    state = synthetic.gn_file(synthetic.torchvision_file('resnet18'))
    small = {k: v for k, v in state.items() if k.startswith('bn1.')}
    torch.save(small, 'in.pth')
    name = 'deeplabv3_r18-d8_gn-all_1xb1-2k_mini-cityscapes.py'
    main('gn', 'in.pth', 'out.pth', '--config', MINI / name, '--check')
    said = capsys.readouterr().out
    assert 'matched: 2 of ' in said
    assert '\nno norm of the model has running statistics\nwrote ' in said


def test_check_names_the_layer_that_is_off(main, capsys):
    model = build('bn')
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
            norm.train()
    images = [
        torch.tensor(image[..., ::-1].copy()).permute(2, 0, 1)
        for image in load_sample_images().images
    ]
    data = dict(inputs=images, data_samples=None)
    with torch.no_grad():
        model.backbone(model.data_preprocessor(data)['inputs'])
    state = model.backbone.state_dict()
    said = check(main, capsys, 'bn', state)
    assert said[-2] == 'far off: 0'
    layers = [line for line in said if line.startswith('  ')]
    assert len(layers) == 20
    for line in layers:
        assert 'mean off by   0.00, variance times' in line
    state['layer4.1.bn2.running_mean'] += 30
    said = check(main, capsys, 'bn', state)
    assert said[-2] == 'far off: 1 (layer4.1.bn2)'


@pytest.mark.parametrize(
    ('arguments', 'why'),
    [
        (('bm', 'in.pth', 'out.pth'), "format 'bm' is not one of bn, bn-gn,"),
        (('bn', 'none.pth', 'out.pth'), "'none.pth' does not exist"),
        (('bn', 'in.pth', 'in.pth'), "'in.pth' is there already"),
        (('bn', 'in.pth', 'no/out.pth'), "'no/out.pth' cannot be written"),
        (('bn', 'in.pth', 'out.pth', '--check'), '--check needs --config'),
        (('sn', 'in.pth', 'out.pth'), "'in.pth' holds BN, not SN: use bn or"),
        (
            ('bn', 'in.pth', 'out.pth', '--config', 'no.py'),
            "config 'no.py' does not exist",
        ),
        (
            ('bn', 'in.pth', 'out.pth', '--config', 'empty.py'),
            "config 'empty.py' does not build a model: ",
        ),
        (
            ('bn', 'other.pth', 'out.pth', '--config', config('bn')),
            'none of the 5 converted keys is in model.backbone',
        ),
        (('bn', 'hostile.pth', 'out.pth'), 'asks for posix.mkdir on loading'),
    ],
)
def test_mistakes(fails, arguments, why):
    norm = nn.BatchNorm2d(4).state_dict()
    torch.save({f'bn1.{k}': v for k, v in norm.items()}, 'in.pth')
    torch.save({f'x.{k}': v for k, v in norm.items()}, 'other.pth')
    torch.save({'x': Hostile()}, 'hostile.pth')
    Path('empty.py').touch()
    files = {path: path.read_bytes() for path in Path().iterdir()}
    said = fails(*arguments)
    assert said.startswith(': error: ')
    assert why in said
    assert files == {path: path.read_bytes() for path in Path().iterdir()}


class Hostile:
    def __reduce__(self):
        return os.mkdir, ('hostile',)
