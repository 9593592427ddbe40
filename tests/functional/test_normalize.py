# Copyright (c) mmnorm contributors. All rights reserved.
"""``normalize`` with a norm that the package does not have."""

import pytest
import torch
import torch.nn.functional as F

from mmnorm.functional import normalize, torch_ops

SHAPES = [(2, 3, 5, 4), (1, 4, 1, 1), (3, 2, 7), (0, 3, 2, 2), (2, 3, 0, 4)]


def instance_norm(x: torch.Tensor) -> torch.Tensor:
    return normalize(x, lambda mean, var, _: ((var + 1e-5).rsqrt(), 0 * mean))


@pytest.mark.parametrize('channels_last', [False, True])
def test_new_norm_has_its_gradient(channels_last):
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    x.requires_grad_()
    torch.testing.assert_close(instance_norm(x), F.instance_norm(x))
    assert torch.autograd.gradcheck(instance_norm, x)


def test_coefficients_may_be_broadcast():
    x = torch.randn(2, 3, 5, 4)
    y = normalize(x, lambda mean, var, _: (torch.ones(3), torch.zeros(1)))
    torch.testing.assert_close(y, x - x.mean((2, 3), keepdim=True))


def test_coefficients_get_the_number_of_pixels():
    seen = []

    def coefficients(mean, var, num_pixels):
        seen.append(num_pixels)
        return var, mean

    for shape in SHAPES:
        normalize(torch.rand(shape), coefficients)
    normalize(torch.rand(2, 3), coefficients)
    assert seen == [20, 1, 7, 4, 0, 1]


def test_output_may_be_written_into():
    # An in-place ReLU writes into its input.
    x = torch.randn(2, 3, 5, 4, requires_grad=True)
    F.relu(instance_norm(x), inplace=True).sum().backward()
    expected, x.grad = x.grad, None
    F.relu(instance_norm(x)).sum().backward()
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_native_path_equals_plain_operators(shape, dtype):
    x, dy = torch.randn(2, *shape, dtype=dtype)
    mean, scale, shift, grad_mean, grad_var = torch.randn(
        5, *shape[:2], dtype=dtype
    )
    # A view that is not contiguous takes the path of plain operators.
    strided = torch.stack((x, x), -1)[..., 0]
    for actual, expected in zip(
        torch_ops.moments(x), torch_ops.moments(strided), strict=True
    ):
        torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(
        torch_ops.affine(x, mean, scale, shift),
        torch_ops.affine(strided, mean, scale, shift),
    )
    grads = (mean, scale, grad_mean, grad_var)
    torch.testing.assert_close(
        torch_ops.input_grad(dy, x, *grads),
        torch_ops.input_grad(dy, strided, *grads),
    )


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('shape', [(0, 3, 2, 2), (2, 3, 0, 4), (0, 3)])
def test_input_without_numbers_gives_no_warning(shape):
    x = torch.empty(shape, requires_grad=True)
    y = normalize(x, lambda mean, var, _: (1 / (var + 1).sqrt(), -mean))
    y.sum().backward()
    assert y.shape == x.grad.shape == shape


def test_constant_plane_has_no_variance():
    mean, var = torch_ops.moments(torch.full((2, 3, 4, 4), 7.0))
    assert (mean == 7).all()
    assert (var == 0).all()


def test_exception():
    with pytest.raises(ValueError, match=r'\(N, C, \*\), got \(3,\)'):
        instance_norm(torch.rand(3))
