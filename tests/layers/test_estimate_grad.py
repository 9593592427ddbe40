# Copyright (c) mmnorm contributors. All rights reserved.
"""The gradient of BCN's estimates: values stay, and the backward changes."""

import copy

import pytest
import torch

from mmnorm import BCN

from .cases import make_input, run

GRADIENTS = ('batch', 'image')


def forward(layer, x):
    return layer(x)


def make_bcn(**options) -> BCN:
    torch.manual_seed(0)
    norm = BCN(8, 4, momentum=0.3, base_batch_size=None, **options).double()
    for tensor in (*norm.parameters(), norm.bn.running_var):
        torch.nn.init.uniform_(tensor, 0.5, 2)
    return norm


@pytest.mark.parametrize('gradient', GRADIENTS)
@pytest.mark.parametrize('share', [0.0, 0.3, 1.0])
def test_values_do_not_depend_on_the_gradient(gradient, share):
    plain = make_bcn(estimate_grad=None)
    other = make_bcn(estimate_grad=gradient, grad_share=share)
    for seed in range(3):
        x = make_input((2, 8, 3, 4), seed).detach()
        torch.testing.assert_close(other(x), plain(x))
    torch.testing.assert_close(other.state_dict(), plain.state_dict())
    torch.testing.assert_close(other.eval()(x), plain.eval()(x))


@pytest.mark.parametrize('gradient', GRADIENTS)
def test_share_of_zero_is_constant_estimates(gradient):
    x = make_input((2, 8, 3, 4))
    expected = run(make_bcn(estimate_grad=None), forward, x)
    seen = run(make_bcn(estimate_grad=gradient, grad_share=0.0), forward, x)
    for key, value in expected.items():
        torch.testing.assert_close(seen[key], value)


@pytest.mark.parametrize('gradient', GRADIENTS)
def test_one_image_is_its_own_batch(gradient):
    x = make_input((1, 8, 3, 4))
    norms = [make_bcn(estimate_grad=each) for each in (gradient, 'image')]
    first, second = (run(norm, forward, x) for norm in norms)
    torch.testing.assert_close(
        first['input gradient'], second['input gradient']
    )


def test_full_share_ignores_scale_and_mean_of_the_batch():
    # The gradient of a batch norm is orthogonal to both.
    x = make_input((2, 8, 3, 4))
    norm = make_bcn(estimate_grad='batch', grad_share=1.0)
    grad = run(norm, forward, x)['input gradient']
    centered = x - x.mean((0, 2, 3), keepdim=True)
    along_mean = grad.sum((0, 2, 3))
    along_scale = (grad * centered).sum((0, 2, 3))
    torch.testing.assert_close(along_mean, torch.zeros_like(along_mean))
    # eps takes part in the scale.
    assert along_scale.abs().max() < 1e-3 * grad.abs().sum()


@pytest.mark.parametrize('gradient', GRADIENTS)
def test_one_value_per_channel_has_constant_estimates(gradient):
    x = make_input((1, 8, 1, 1))
    expected = run(make_bcn(estimate_grad=None), forward, x)
    expected = expected['input gradient']
    seen = run(make_bcn(estimate_grad=gradient), forward, x)
    torch.testing.assert_close(seen['input gradient'], expected)


def test_batch_statistics_have_their_own_gradient():
    x = make_input((2, 8, 3, 4))
    expected = run(make_bcn(estimate=False, estimate_grad=None), forward, x)
    seen = run(make_bcn(estimate=False), forward, x)
    for key, value in expected.items():
        torch.testing.assert_close(seen[key], value)


def test_default_is_the_gradient_of_the_batch():
    x = make_input((2, 8, 3, 4))
    whole = make_bcn(estimate_grad='batch', grad_share=1.0)
    expected = run(whole, forward, x)
    for key, value in run(make_bcn(), forward, x).items():
        torch.testing.assert_close(value, expected[key])


def test_copies_keep_the_gradient():
    norm = copy.deepcopy(make_bcn(estimate_grad='image', grad_share=0.5))
    assert "estimate_grad='image', grad_share=0.5" in repr(norm)
