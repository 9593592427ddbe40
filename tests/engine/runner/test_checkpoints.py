# Copyright (c) mmnorm contributors. All rights reserved.
"""Checkpoints on the ways that users send them, through mmengine."""

import os
import pickle
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import Tensor, nn
from torchvision.models import resnet50

import mmnorm

from .test_safe_load import Hostile, MethodOfArray

ROOT = Path(__file__).parents[3]
NORMS = ['BCN', 'SN', 'SyncBN']


@pytest.fixture(scope='module')
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as of torch hub, with a ResNet-50 as torchvision has it."""
    home = tmp_path_factory.mktemp('torch')
    torch.manual_seed(0)
    state = resnet50(weights=None).state_dict()
    for key, value in state.items():
        if key.endswith('running_mean'):
            value.normal_()
        if key.endswith('running_var'):
            value.uniform_(0.5, 2)
        if key.endswith('num_batches_tracked'):
            value.fill_(7)
    path = home / 'hub/checkpoints/resnet50-0676ba61.pth'
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    return home


def build_resnet(kind: str, norm: str, checkpoint: str) -> nn.Module:
    with DefaultScope.overwrite_default_scope(kind.split('.')[0]):
        backbone = MODELS.build(
            dict(
                type=kind,
                depth=50,
                norm_cfg=dict(type=f'mmnorm.{norm}'),
                norm_eval=False,
                init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
            )
        )
        backbone.init_weights()
    return backbone


def in_bn(norm: str, key: str, state: dict[str, Tensor]) -> str:
    """Where a number of a plain batch norm is among those of ours."""
    layer, _, name = key.rpartition('.')
    is_norm = layer + '.running_mean' in state
    return f'{layer}.bn.{name}' if norm == 'BCN' and is_norm else key


@pytest.mark.parametrize('kind', ['mmdet.ResNet', 'mmseg.ResNet'])
@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('source', ['torchvision', 'file'])
def test_plain_batch_norms_load(published, monkeypatch, kind, norm, source):
    # Downloading nothing: torch finds the file where it keeps downloads.
    monkeypatch.setenv('TORCH_HOME', str(published))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', None)
    (path,) = published.glob('hub/checkpoints/*')
    said = []
    monkeypatch.setattr(
        'mmengine.runner.checkpoint.print_log',
        lambda text, *args, **kwargs: said.append(text),
    )
    address = 'torchvision://resnet50' if source == 'torchvision' else path
    backbone = build_resnet(kind, norm, str(address))

    # Of all that mmengine says: nothing does not fit but the classifier.
    report = '\n'.join(said)
    assert 'size mismatch' not in report
    unexpected = [
        line for line in report.splitlines() if 'unexpected key' in line
    ]
    assert unexpected == [
        'unexpected key in source state_dict: fc.weight, fc.bias'
    ]
    state, loaded = torch.load(path), backbone.state_dict()
    fresh = dict(loaded)
    for key, value in state.items():
        if not key.startswith('fc.'):
            assert fresh.pop(in_bn(norm, key, state)).equal(value), key
    # The rest are parameters that a batch norm has none of, as they start.
    for key, value in fresh.items():
        name = key.rpartition('.')[2]
        assert name in ('weight', 'bias', 'mean_weight', 'var_weight'), key
        assert value.eq(0 if name == 'bias' else 1).all(), key
    assert (len(fresh) == 0) == (norm == 'SyncBN')


def test_loaded_network_computes_as_torchvision(published):
    (path,) = published.glob('hub/checkpoints/*')
    backbone = build_resnet('mmdet.ResNet', 'SyncBN', str(path))
    backbone.eval()
    theirs = resnet50(weights=None).eval()
    theirs.load_state_dict(torch.load(path))
    theirs.avgpool = theirs.fc = nn.Identity()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, actual = theirs(x), backbone(x)[-1].flatten(1)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@MODELS.register_module()
class CheckpointNet(BaseModel):
    """All layers, one behind the other."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(mmnorm.ConvWS(3, 32, 3), mmnorm.BCN(32), nn.Conv2d(32, 32, 1)),
            *(mmnorm.SN(32), nn.Conv2d(32, 32, 1), mmnorm.SyncBN(32)),
            *(nn.Conv2d(32, 32, 1), mmnorm.BCN(32, estimate=False)),
            *(nn.Conv2d(32, 32, 1), mmnorm.GN(32)),
        )

    def forward(self, inputs, data_samples=None, mode='tensor'):
        y = self.layers(torch.stack(inputs))
        return {'loss': (y - torch.rand_like(y)).square().mean()}


def make_runner(folder: Path, **settings) -> Runner:
    torch.manual_seed(len(str(folder)))  # not to be seen in the result
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(8, 3, 6, 7, generator=generator)
    cfg = dict(
        model=dict(type='CheckpointNet'),
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=[dict(inputs=picture) for picture in pictures],
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-2)),
        custom_hooks=[
            dict(type='mmnorm.RepeatableHook'),
            dict(
                type='EMAHook',
                ema_type='ExponentialMovingAverage',
                momentum=0.3,
                update_buffers=True,
            ),
        ],
        randomness=dict(seed=0),
        log_level='WARNING',
    )
    return Runner(cfg=Config(), **cfg | settings)


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def assert_same(actual: dict, expected: dict) -> None:
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=0, atol=0, msg=key)


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs with averaged weights."""
    assert 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ
    folder = tmp_path_factory.mktemp('whole')
    make_runner(folder).train()
    return folder


def test_resumed_run_ends_as_an_uninterrupted_one(trained, tmp_path):
    start = str(trained / 'epoch_1.pth')
    make_runner(tmp_path, load_from=start, resume=True).train()
    whole, resumed = (
        load(folder / 'epoch_2.pth') for folder in (trained, tmp_path)
    )
    for part in ('state_dict', 'ema_state_dict'):
        assert_same(resumed[part], whole[part])
    assert 'message_hub' in whole


def test_averages_hold_statistics_too(trained):
    # mmengine puts the averages into state_dict, which is what is tested.
    checkpoint = load(trained / 'epoch_2.pth')
    averages = checkpoint['state_dict']
    weights = checkpoint['ema_state_dict']
    assert weights.keys() - {'steps'} == {f'module.{key}' for key in averages}
    for i, name in ((1, 'bn.running_mean'), (3, 'running_var'), (5, 'weight')):
        key = f'layers.{i}.{name}'
        assert averages[key].isfinite().all()
        assert not averages[key].equal(weights[f'module.{key}']), key


def test_load_from_takes_what_was_tested(trained, tmp_path):
    path = trained / 'epoch_2.pth'
    runner = make_runner(tmp_path, load_from=str(path))
    runner.call_hook('before_run')
    runner.load_or_resume()
    assert_same(runner.model.state_dict(), load(path)['state_dict'])


@pytest.fixture
def refusal(monkeypatch, tmp_path, capsys):
    """What a tool says of a checkpoint."""

    def run(name: str, *args: object) -> str:
        config = tmp_path / 'config.py'
        config.write_text('model = None\n')
        argv = [name, str(config), *map(str, args)]
        monkeypatch.setattr(sys, 'argv', argv)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
        assert exit_info.value.code == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith(f'{name}: error: checkpoint ')
        return line

    return run


FORMATS = {
    'zip': torch.save,
    'old': lambda thing, path: torch.save(
        thing, path, _use_new_zipfile_serialization=False
    ),
    'pickle': lambda thing, path: path.write_bytes(pickle.dumps(thing)),
}


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('write', FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    ('name', 'option'),
    [
        ('test.py', '{}'),
        ('train.py', '--resume={}'),
        ('train.py', '--cfg-options=load_from={}'),
        ('recalibrate.py', '{}'),
    ],
)
def test_hostile_checkpoint_is_refused(refusal, tmp_path, write, name, option):
    path = tmp_path / 'epoch_1.pth'
    write({'state_dict': {}, 'meta': {}, 'extra': Hostile()}, path)
    options = [option.format(path)]
    if name == 'recalibrate.py':
        options.append(tmp_path / 'out.pth')
    said = refusal(name, *options)
    if write is FORMATS['pickle']:  # which torch does not get far into
        assert f'{str(path)!r} (80 bytes) cannot be read' in said
    else:
        assert f'{str(path)!r} asks for posix.mkdir on loading' in said
        assert 'it is refused' in said
    assert 'weights_only' not in said  # torch's advice to load it unsafely
    assert not (tmp_path / 'hostile').exists()
    assert not (tmp_path / 'out.pth').exists()


def test_getattr_in_disguise_is_refused(refusal, tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save({'state_dict': {}, 'extra': MethodOfArray()}, path)
    assert 'do not trust this file' in refusal('test.py', path)


def test_hostile_weights_of_a_backbone_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'conv1.weight': Hostile()}, tmp_path / 'resnet.pth')
    with pytest.raises(pickle.UnpicklingError):
        build_resnet('mmdet.ResNet', 'BCN', str(tmp_path / 'resnet.pth'))
    assert not (tmp_path / 'hostile').exists()
