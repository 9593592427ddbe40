# Copyright (c) mmnorm contributors. All rights reserved.
"""Published batch norm weights load into the layers, through mmengine."""

import pickle
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torchvision.models import resnet50

import mmnorm  # noqa: F401  registers the layers

from .test_safe_load import Hostile

NORMS = ['BCN', 'SN', 'SyncBN']


@pytest.fixture(scope='module')
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of torch hub with a ResNet-50 of torchvision."""
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


def build_resnet(name: str, norm: str, checkpoint: str) -> nn.Module:
    with DefaultScope.overwrite_default_scope(name.split('.')[0]):
        backbone = MODELS.build(
            dict(
                type=name,
                depth=50,
                norm_cfg=dict(type=f'mmnorm.{norm}'),
                norm_eval=False,
                init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
            )
        )
        backbone.init_weights()
    return backbone


def our_key(norm: str, key: str, state: dict[str, Tensor]) -> str:
    """Return our key for an entry of a plain batch norm."""
    layer, _, name = key.rpartition('.')
    is_norm = layer + '.running_mean' in state
    return f'{layer}.bn.{name}' if norm == 'BCN' and is_norm else key


@pytest.mark.parametrize('name', ['mmdet.ResNet', 'mmseg.ResNet'])
@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('source', ['torchvision', 'file'])
def test_plain_batch_norms_load(published, monkeypatch, name, norm, source):
    # torch finds the file where it keeps downloads, so it downloads nothing.
    monkeypatch.setenv('TORCH_HOME', str(published))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', None)
    (path,) = published.glob('hub/checkpoints/*')
    messages = []
    monkeypatch.setattr(
        'mmengine.runner.checkpoint.print_log',
        lambda text, *args, **kwargs: messages.append(text),
    )
    address = 'torchvision://resnet50' if source == 'torchvision' else path
    backbone = build_resnet(name, norm, str(address))

    # mmengine reports no key that does not fit, except for the classifier.
    report = '\n'.join(messages)
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
            assert fresh.pop(our_key(norm, key, state)).equal(value), key
    # The rest are initial values of parameters that a batch norm lacks.
    for key, value in fresh.items():
        entry = key.rpartition('.')[2]
        assert entry in ('weight', 'bias', 'mean_weight', 'var_weight'), key
        assert value.eq(0 if entry == 'bias' else 1).all(), key
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


def test_hostile_weights_of_a_backbone_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'conv1.weight': Hostile()}, tmp_path / 'resnet.pth')
    with pytest.raises(pickle.UnpicklingError):
        build_resnet('mmdet.ResNet', 'BCN', str(tmp_path / 'resnet.pth'))
    assert not (tmp_path / 'hostile').exists()
