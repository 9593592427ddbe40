# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch
from torch import nn

from mmnorm import SN


def test_checkpoint_of_the_authors_loads():
    state = {
        'weight': torch.rand(1, 8, 1, 1),
        'bias': torch.rand(1, 8, 1, 1),
        'mean_weight': torch.rand(3),
        'var_weight': torch.rand(3),
        'running_mean': torch.rand(1, 8, 1),
        'running_var': torch.rand(1, 8, 1),
    }
    norm = SN(8)
    norm.load_state_dict(state)
    for key, value in state.items():
        loaded = norm.state_dict()[key]
        torch.testing.assert_close(loaded, value.flatten())


def test_plain_batch_norm_loads_with_nothing_unexpected():
    bn = nn.BatchNorm2d(8)
    nn.init.uniform_(bn.running_var)
    norm = SN(8)
    missing, unexpected = norm.load_state_dict(bn.state_dict(), strict=False)
    assert set(missing) == {'mean_weight', 'var_weight'}
    assert not unexpected
    torch.testing.assert_close(norm.running_var, bn.running_var)

    norm = SN(8, use_bn=False)
    missing, unexpected = norm.load_state_dict(bn.state_dict(), strict=False)
    assert set(missing) == {'mean_weight', 'var_weight'}
    assert not unexpected


def test_without_bn_has_no_buffers():
    norm = SN(8, use_bn=False)
    assert not list(norm.buffers())
    assert norm.mean_weight.shape == norm.var_weight.shape == (2,)


@pytest.mark.parametrize(
    ('term', 'plain'),
    [
        (0, nn.InstanceNorm2d(8)),
        (1, nn.GroupNorm(1, 8)),
        (2, nn.BatchNorm2d(8)),
    ],
    ids=['instance', 'layer', 'batch'],
)
def test_a_share_of_one_is_that_norm(term, plain):
    norm, x = SN(8), torch.randn(3, 8, 5, 4)
    for logits in (norm.mean_weight, norm.var_weight):
        logits.data[term] = 100.0
    torch.testing.assert_close(norm(x), plain(x))
