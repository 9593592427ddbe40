# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch

from mmnorm import GN, GW

from .cases import assert_same, call, make_input, run, uneven_loss


def test_many_iterations_are_zca_whitening():
    norm = GW(12, 6, eps=0.1, num_iterations=60).double()
    x = make_input((2, 12, 5, 4))
    z = x.reshape(2, 6, 40)
    z = z - z.mean(2, keepdim=True)
    eigenvalues, vectors = torch.linalg.eigh(z @ z.mT / 40)
    rotated = vectors.mT @ z / (eigenvalues + 0.1).sqrt()[..., None]
    expected = (vectors @ rotated).reshape(x.shape)
    torch.testing.assert_close(norm(x), expected, rtol=1e-10, atol=1e-10)
    (actual,) = torch.autograd.grad(uneven_loss(norm(x)), x)
    (expected,) = torch.autograd.grad(uneven_loss(expected), x)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_many_iterations_of_a_nearly_singular_covariance():
    x = torch.randn(2, 64, 1, 4, requires_grad=True)
    norm = GW(64, 64, num_iterations=40)
    norm(x).square().sum().backward()
    assert norm(x).isfinite().all() and x.grad.isfinite().all()


def test_groups_are_uncorrelated():
    norm = GW(64, 32, num_iterations=40).double()
    mixed = torch.randn(64, 64).double() @ torch.randn(2, 64, 400).double()
    z = norm(mixed).reshape(2, 32, 800)
    covariance = z @ z.mT / 800
    one = torch.eye(32).double().expand(2, 32, 32)
    torch.testing.assert_close(covariance, one, rtol=0, atol=1e-3)


def test_one_group_is_group_norm():
    whitening, norm = GW(8, 1).double(), GN(8, 1).double()
    for parameter in norm.parameters():
        torch.nn.init.uniform_(parameter)
    whitening.load_state_dict(norm.state_dict())
    x = make_input((3, 8, 5, 4))
    assert_same(run(whitening, call, x), run(norm, call, x), 1e-12)


@pytest.mark.parametrize('shape', [(1, 64, 1, 1), (1, 64, 2, 1), (2, 64)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_few_values_per_group_are_finite(shape, dtype):
    # The covariance of 32 groups with 2 or 4 values has no full rank.
    for x in (torch.randn(shape), torch.full(shape, 1e3), torch.zeros(shape)):
        norm, x = GW(64, 32), x.to(dtype).requires_grad_()
        y = norm(x)
        y.float().square().sum().backward()
        for tensor in (y, x.grad, norm.weight.grad, norm.bias.grad):
            assert tensor.isfinite().all()


def test_no_image_sees_another():
    norm, x = GW(8, 4), torch.randn(3, 8, 5, 4)
    each = torch.cat([norm(image) for image in x.split(1)])
    torch.testing.assert_close(norm(x), each)


def test_checkpoint_of_the_authors_loads():
    state = {key: torch.rand(1, 8, 1, 1) for key in ('weight', 'bias')}
    norm = GW(8, 4)
    norm.load_state_dict(dict(state))
    torch.testing.assert_close(norm.weight, state['weight'].flatten())
