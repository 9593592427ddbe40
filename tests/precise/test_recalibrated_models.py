# Copyright (c) mmnorm contributors. All rights reserved.
"""Recalibration of models: what stays, and models of every form."""

import copy
import random
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.runner import turn_on_activation_checkpointing
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmnorm import SyncBN, fuse_norm_act
from mmnorm.precise.exact_statistics import recalibrate
from tests.layers.cases import assert_same

from .networks import NORMS, build, make_batches, statistics, stats_of


def snapshot(net: nn.Module) -> dict:
    flags = {name: m.training for name, m in net.named_modules()}
    hooks = [len(m._forward_hooks) for m in net.modules()]
    hooks += [len(m._forward_pre_hooks) for m in net.modules()]
    random_state = (
        random.getstate(),
        str(np.random.get_state()),  # noqa: NPY002
        torch.get_rng_state().tolist(),
    )
    return dict(flags=flags, hooks=hooks, random_state=random_state)


class Stateful(nn.Module):
    """A module whose forward moves a buffer, a counter and random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('scale', torch.ones(1))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.scale += 1
        random.random()
        np.random.rand()  # noqa: NPY002
        return x + torch.rand_like(x)


@pytest.mark.parametrize('fails', [False, True])
def test_nothing_but_statistics_changes(fails):
    net = build('BCN estimate').append(Stateful()).append(SyncBN(8).double())
    net[2].eval()
    net[4].bn.momentum = 0.3
    kept = snapshot(net)
    state = copy.deepcopy(net.state_dict())

    def batches() -> Iterator[Tensor]:
        yield from make_batches(2)
        if fails:
            raise OSError('no more')

    if fails:
        with pytest.raises(OSError, match='no more'):
            recalibrate(net, batches())
    else:
        recalibrate(net, batches())
    assert snapshot(net) == kept
    assert net[9].calls == 0
    assert net[4].bn.momentum == 0.3
    changed = {
        key
        for key, value in net.state_dict().items()
        if not value.equal(state[key])
    }
    norms = () if fails else ('1.bn', '4.bn', '7.bn', '10')
    assert changed == {
        f'{norm}.running_{kind}' for norm in norms for kind in ('mean', 'var')
    }
    for parameter in net.parameters():
        assert parameter.requires_grad
        assert parameter.grad is None


class FrozenBackbone(nn.Sequential):
    def train(self, mode: bool = True) -> None:
        # mmdet's ResNet with norm_eval=True does this, and returns None.
        super().train(mode)
        stats_of(self[1]).eval()


@pytest.mark.parametrize('name', ['BatchNorm', 'BCN estimate'])
def test_frozen_norms_stay(name):
    net = FrozenBackbone(*build(name))
    for parameter in net[4].parameters():
        parameter.requires_grad = False  # freezes only the affine part
    before = statistics(net)
    net.eval()
    assert list(recalibrate(net, make_batches(3))) == ['4', '7']
    after = statistics(net)
    for key, value in before.items():
        assert after[key].equal(value) == key.startswith('1.')


def test_fused_and_compiled_models():
    net, batches = build('BCN estimate'), make_batches(3)
    fused, compiled = copy.deepcopy(net), copy.deepcopy(net)
    assert fuse_norm_act(fused) == 1
    # mmengine does this for compile=True.
    compiled.forward = torch.compile(compiled.forward, backend='eager')
    for each in (net, fused, compiled):
        recalibrate(each, batches)
        assert_same(statistics(each), statistics(net), 1e-12)
    assert hasattr(compiled.forward, '_torchdynamo_orig_callable')


class Model(nn.Module):
    """A model that may checkpoint its backbone, as with ``with_cp=True``."""

    def __init__(self, backbone: nn.Module, **checkpoint_args: bool) -> None:
        super().__init__()
        self.backbone, self.checkpoint_args = backbone, checkpoint_args

    def forward(self, x: Tensor) -> Tensor:
        if not self.checkpoint_args:
            return self.backbone(x)
        return checkpoint(self.backbone, x, **self.checkpoint_args)


def checkpointed_by_mmengine(net: nn.Module) -> nn.Module:
    model = Model(net)
    turn_on_activation_checkpointing(model, 'backbone')
    return model


CHECKPOINTING = {
    'reentrant': partial(Model, use_reentrant=True),
    'not reentrant': partial(Model, use_reentrant=False),
    'mmengine': checkpointed_by_mmengine,
}


@pytest.mark.filterwarnings(
    'ignore:None of the inputs have requires_grad',
    'ignore:torch.utils.checkpoint',
)
@pytest.mark.parametrize('checkpointing', CHECKPOINTING)
@pytest.mark.parametrize('name', NORMS)
def test_activation_checkpointing(name, checkpointing):
    net, batches = build(name), make_batches(4)
    model = CHECKPOINTING[checkpointing](copy.deepcopy(net))
    changes = recalibrate(model, batches)
    assert list(changes) == ['backbone.1', 'backbone.4', 'backbone.7']
    recalibrate(net, batches)
    assert_same(model.backbone.state_dict(), net.state_dict(), 1e-12)
