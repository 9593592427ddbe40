# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch
from torch import nn

from mmnorm import GN
from mmnorm.functional import normalize


@pytest.mark.parametrize('affine', [True, False])
def test_is_a_drop_in_for_torch(affine):
    ours, theirs = GN(12, 4, affine=affine), nn.GroupNorm(4, 12, affine=affine)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 12, 5, 7, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    # On CPU, ours(x) calls torch's operator. Elsewhere it calls normalize().
    y, expected = normalize(x, ours.coefficients), theirs(twin)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(ours(x), expected, rtol=0, atol=0)
    y.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)
    for parameter, other in zip(
        ours.parameters(), theirs.parameters(), strict=True
    ):
        torch.testing.assert_close(parameter.grad, other.grad)


@pytest.mark.parametrize(
    ('num_features', 'groups'), [(64, 32), (48, 24), (7, 7), (37, 1), (1, 1)]
)
def test_auto_is_the_largest_divisor_not_above_32(num_features, groups):
    assert GN(num_features, 'auto').num_groups == groups


def test_default_is_32():
    assert GN(64).num_groups == 32


@pytest.mark.parametrize(
    ('num_groups', 'sentence'),
    [
        (32, r"num_groups=32 .* 48 channels .* 'auto' \(here 24\)"),
        (0, 'num_groups=0: set it to a positive'),
        (-4, 'num_groups=-4: set it to a positive'),
        (2.0, 'num_groups=2.0: set it to a positive'),
        ('all', "num_groups='all': set it to a positive"),
    ],
)
def test_exception(num_groups, sentence):
    with pytest.raises(ValueError, match=sentence):
        GN(48, num_groups)
