# Copyright (c) mmnorm contributors. All rights reserved.
import copy
from functools import partial

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from mmnorm import MABN

from .cases import (
    CHANNELS,
    LAYERS,
    assert_same,
    call,
    make_input,
    make_layer,
    make_reference,
    uneven_loss,
)


def train(forward, layer, num_steps: int) -> dict[str, torch.Tensor]:
    """Return the last gradients and all buffers of a training."""
    layer = copy.deepcopy(layer)
    for seed in range(num_steps):
        x = make_input((1 + seed % 2, CHANNELS, 4, 5), seed)
        uneven_loss(forward(layer, x)).backward()
    gradients = {k: p.grad for k, p in layer.named_parameters()}
    return gradients | {'input': x.grad} | dict(layer.named_buffers())


# The averages start with the batch 5, and r with the batch 9.
@pytest.mark.parametrize('num_steps', [2, 4, 5, 8, 9, 13])
def test_equals_reference_in_a_training(num_steps):
    layer, reference = make_layer('MABN'), make_reference('MABN')
    actual = train(call, layer, num_steps)
    assert actual['buffer_gz'].any()
    assert_same(actual, train(reference, layer, num_steps))


@pytest.mark.parametrize('reentrant', [True, False])
@pytest.mark.parametrize('name', ['MABN', 'MABN moving'])
def test_recomputed_forward_moves_nothing(name, reentrant):
    def checkpointed(layer, x):
        two = partial(checkpoint, use_reentrant=reentrant)
        return two(lambda x: layer(layer(x)), x)

    def plain(layer, x):
        return layer(layer(x))

    layer = make_layer(name)
    assert_same(train(checkpointed, layer, 3), train(plain, layer, 3), 1e-12)


def test_gradients_that_are_not_finite_leave_the_buffer():
    layer, x = make_layer('MABN moving'), make_input((1, CHANNELS, 4, 5))
    before = layer.buffer_gz.clone()
    (layer(x).sum() * float('inf')).backward()
    assert torch.equal(layer.buffer_gz, before)


def test_checkpoint_of_the_authors_loads():
    state = {
        'weight': torch.rand(8),
        'bias': torch.rand(8),
        'running_var': torch.rand(1, 8, 1, 1),
        'iters': torch.tensor([7]),
        'buffer_x2': torch.rand(16, 8),
        'buffer_gz': torch.rand(16, 8),
    }
    norm = MABN(8)
    norm.load_state_dict(state)
    assert norm.num_batches_tracked == 7
    torch.testing.assert_close(norm.running_var, state['running_var'].view(8))


def test_reset():
    norm = LAYERS['MABN'][0](CHANNELS)
    norm(torch.randn(2, CHANNELS, 3, 3))
    norm.reset_running_stats()
    assert (norm.running_var == 1).all()
    assert norm.num_batches_tracked == 0
