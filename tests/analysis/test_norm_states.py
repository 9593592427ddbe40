# Copyright (c) mmnorm contributors. All rights reserved.
from functools import partial

import pytest
import torch
from torch import nn

from mmnorm import (
    BCN,
    BKN,
    BN,
    BRN,
    FRN,
    GN,
    GW,
    IN,
    LN,
    MABN,
    SN,
    SSN,
    EvoNormB0,
    EvoNormS0,
    MetaNorm,
    SyncBN,
)
from mmnorm.analysis import norm_states
from tests.layers.cases import uneven_loss

# Statistics in training and in evaluation, and whether processes share them.
STATES = {
    nn.BatchNorm2d: ('batch', 'running', False),
    nn.SyncBatchNorm: ('batch', 'running', True),
    nn.InstanceNorm2d: ('image', 'image', False),
    BCN: ('running + image', 'running + image', True),
    BN: ('batch', 'running', False),
    BKN: ('batch', 'running', True),
    BRN: ('batch', 'running', True),
    SyncBN: ('batch', 'running', True),
    SN: ('batch + image', 'running + image', True),
    SSN: ('batch + image', 'running + image', True),
    EvoNormB0: ('batch + image', 'running + image', True),
    MABN: ('last batches', 'running', False),
    EvoNormS0: ('image', 'image', False),
    FRN: ('image', 'image', False),
    GN: ('image', 'image', False),
    partial(GW, num_groups='auto'): ('image', 'image', False),
    partial(MetaNorm, use_bn=True): ('batch', 'running', True),
    IN: ('image', 'image', False),
    LN: ('image', 'image', False),
}


def name_of(kind) -> str:
    return getattr(kind, 'func', kind).__name__


def state_of(norm: nn.Module):
    (state,) = norm_states(nn.Sequential(norm))
    return state


@pytest.mark.parametrize('kind', STATES, ids=name_of)
def test_statistics(kind):
    training, evaluation, synchronized = STATES[kind]
    norm = kind(32)
    state = state_of(norm)
    assert state.statistics == training
    assert state.synchronized == synchronized
    assert state.moves == (evaluation != 'image')
    state = state_of(norm.eval())
    assert state.statistics == evaluation
    assert not state.moves
    assert state.num_channels == 32


@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize(
    'kind',
    [k for k in STATES if k is not nn.SyncBatchNorm],
    ids=name_of,
)
def test_what_a_state_says_is_what_the_norm_does(kind, training):
    torch.manual_seed(0)
    norm = kind(32).double().train(training)
    x = torch.randn(3, 32, 4, 5, dtype=torch.float64, requires_grad=True)
    before = {k: b.clone() for k, b in norm.named_buffers() if 'running' in k}
    state = state_of(norm)
    uneven_loss(norm(x)[0, 0]).backward()
    # BCN reads the batch through its estimates.
    reads = 'batch' in state.statistics or (kind is BCN and training)
    assert bool(x.grad[1:].any()) == reads
    moved = any(
        not torch.equal(buffer, before[key])
        for key, buffer in norm.named_buffers()
        if key in before
    )
    assert moved == state.moves


def test_forms_of_the_layers():
    assert state_of(MetaNorm(32)).statistics == 'image'
    assert state_of(MetaNorm(32)).moves  # a gate may open
    assert state_of(BCN(8, 4, estimate=False)).statistics == 'batch + image'
    assert not state_of(BCN(8, 4, sync=False)).synchronized
    assert state_of(BCN(8, 4)).num_groups == 4
    without = state_of(SN(8, use_bn=False))
    assert (without.statistics, without.moves) == ('image', False)
    assert not without.synchronized
    plain = state_of(nn.BatchNorm2d(8, affine=False))
    assert (plain.type, plain.trained) == ('torch BatchNorm2d', None)
    assert state_of(nn.LayerNorm(8)).num_channels == 8
    no_memory = nn.BatchNorm2d(8, track_running_stats=False).eval()
    assert state_of(no_memory).statistics == 'batch'


def test_weight_decay_of_each_norm():
    model = nn.Sequential(GN(32), nn.Conv2d(32, 8, 1), nn.BatchNorm2d(8))
    groups = [
        {'params': model[0].parameters(), 'weight_decay': 0.0},
        {'params': model[1].parameters()},
    ]
    optimizer = torch.optim.SGD(groups, lr=1.0, weight_decay=0.1)
    first, second = norm_states(model, optimizer)
    assert (first.name, first.weight_decay) == ('0', 0.0)
    assert (second.name, second.weight_decay) == ('2', None)
