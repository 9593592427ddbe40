# Copyright (c) mmnorm contributors. All rights reserved.
import os
from pathlib import Path

import pytest
import torch
from mmdet.models import MaskRCNN
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from sklearn.datasets import load_sample_images
from torch import nn

from mmnorm.checkpoints import FORMATS
from tests.checkpoints.convert import synthetic
from tests.paths import ROOT

TOOL = 'convert_checkpoint.py'
MINI = ROOT / 'configs/mini'


def config(norm: str) -> str:
    return str(MINI / f'mask-rcnn_r18_fpn_{norm}-all_1xb1-3e_mini-coco.py')


def build(norm: str) -> nn.Module:
    cfg = Config.fromfile(config(norm))
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg.model)


@pytest.fixture(autouse=True)
def in_folder(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def convert(succeeds):
    """Convert in.pth to out.pth, and return the lines of the output."""

    def run(format_name: str, *options: object) -> list[str]:
        output = succeeds(TOOL, format_name, 'in.pth', 'out.pth', *options)
        return output.splitlines()

    return run


def test_help_names_every_format(succeeds):
    text = succeeds(TOOL, '--help')
    for name, each in FORMATS.items():
        assert f'  {name:<15} {each.description}\n' in text


def test_backbone_of_a_config(convert):
    state = synthetic.bcn_file(synthetic.torchvision_file('resnet18'))
    torch.save({f'module.{k}': v for k, v in state.items()}, 'in.pth')
    lines = convert('bcn-ws', '--config', config('bcn-ws'))
    assert lines[0] == 'converted: 160 tensors'
    assert 'running statistics of 20 norms ' in lines[1]
    assert lines[2:] == [
        'unused: 2 (fc.weight, fc.bias)',
        f'for: {FORMATS["bcn-ws"].config}',
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


def test_detector_with_its_classes(convert):
    meta = {'dataset_meta': {'classes': ('a', 'b')}, 'cfg': 'norm = BN'}
    state = build('bn').state_dict()
    torch.save({'meta': meta, 'state_dict': state, 'optimizer': {}}, 'in.pth')
    lines = convert('bn-gn', '--config', config('gn'))
    total = len(build('gn').state_dict())
    assert f'matched: {total} of {total} in the model' in lines
    assert 'missing: 0' in lines
    unused, warning, *_ = lines[1:]
    assert unused.startswith('unused: 108 (backbone.bn1.running_mean, ')
    assert unused.endswith(' and 103 more)')  # 36 norms x 3
    assert warning.startswith('warning: these weights were trained with ')
    meta = torch.load('out.pth', weights_only=True)['meta']
    assert meta['dataset_meta'] == {'classes': ('a', 'b')}
    assert 'cfg' not in meta


def test_without_a_config(convert):
    torch.save(synthetic.torchvision_file('resnet18'), 'in.pth')
    assert [line.split(':')[0] for line in convert('bn')] == [
        'converted',
        'unused',
        'for',
        'wrote out.pth',
    ]


def test_keys_that_do_not_fit_are_named(convert):
    state = synthetic.sn_file(synthetic.torchvision_file('resnet18'))
    for key in list(state):
        if key.endswith(('mean_weight', 'var_weight')):
            state[key] = state[key][:2]
    del state['conv1.weight']
    torch.save({'state_dict': state}, 'in.pth')
    lines = convert('sn', '--config', config('sn'))
    assert lines[-4:-2] == ['missing: 1 (conv1.weight)', 'unexpected: 0']
    shapes = lines[-2]
    start = 'other shapes: 40 (bn1.mean_weight [2], model [3], '
    assert shapes.startswith(start)
    assert shapes.endswith(' and 35 more)')


def test_weights_trained_without_standardization(convert):
    state = synthetic.torchvision_file('resnet18')
    for weight in state.values():
        if weight.dim() == 4:
            weight += 0.3 * weight.std((1, 2, 3), keepdim=True)
    torch.save(state, 'in.pth')
    lines = convert('bn', '--config', config('bcn-ws'))
    start = 'warning: 20 convolutions of the model standardize weights'
    assert any(line.startswith(start) for line in lines)


@pytest.fixture
def check(convert):
    """Convert and check a state dict; return the lines of the output."""

    def run(norm: str, state: dict) -> list[str]:
        torch.save(state, 'in.pth')
        lines = convert('bn', '--config', config(norm), '--check')
        os.remove('out.pth')
        return lines

    return run


def test_check_runs_all_parts(check):
    lines = check('bcn', build('bn').state_dict())
    title = 'input of each norm, in units of its running statistics:'
    layers = [line for line in lines[lines.index(title) :] if line[0] == ' ']
    assert {line.split('.')[0].strip() for line in layers} == {
        'backbone',
        'neck',
        'roi_head',
    }
    # The running statistics of a new model are 0 and 1.
    off = [line.split()[0] for line in layers if line.endswith('far off')]
    assert lines[-2].startswith(f'far off: {len(off)} ({off[0]}')


def test_check_of_a_segmenter_without_statistics(convert):
    state = synthetic.gn_file(synthetic.torchvision_file('resnet18'))
    small = {k: v for k, v in state.items() if k.startswith('bn1.')}
    torch.save(small, 'in.pth')
    name = 'deeplabv3_r18-d8_gn-all_1xb1-2k_mini-cityscapes.py'
    lines = convert('gn', '--config', MINI / name, '--check')
    assert any(line.startswith('matched: 2 of ') for line in lines)
    assert lines[-2:] == [
        'no norm of the model has running statistics',
        'wrote out.pth',
    ]


def test_check_names_the_layer_that_is_off(check):
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
    lines = check('bn', state)
    assert lines[-2] == 'far off: 0'
    layers = [line for line in lines if line.startswith('  ')]
    assert len(layers) == 20
    for line in layers:
        assert 'mean off by   0.00, variance times' in line
    state['layer4.1.bn2.running_mean'] += 30
    lines = check('bn', state)
    assert lines[-2] == 'far off: 1 (layer4.1.bn2)'


def test_defect_in_a_check_keeps_its_traceback(check, monkeypatch):
    def fail(self, *args, **kwargs) -> None:
        raise RuntimeError('a defect')

    state = build('bn').state_dict()
    monkeypatch.setattr(MaskRCNN, 'forward', fail)
    with pytest.raises(RuntimeError, match='a defect'):
        check('bcn', state)


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
            "config 'empty.py' does not build a model: the config has no mod",
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
    assert why in fails(TOOL, *arguments)
    assert files == {path: path.read_bytes() for path in Path().iterdir()}


class Hostile:
    def __reduce__(self):
        return os.mkdir, ('hostile',)
