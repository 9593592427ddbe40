# Copyright (c) mmnorm contributors. All rights reserved.
import torch
from torch import nn

from mmnorm import BKN, BN
from mmnorm.functional.kalman import convolved_moments, relu_moments
from mmnorm.precise import recalibrate
from tests import reference

from .cases import (
    assert_same,
    call,
    make_input,
    make_predicted_bkn,
    run,
    uneven_loss,
)


def test_prediction_is_the_mean_of_random_activations():
    torch.manual_seed(0)
    mean, var = torch.tensor([[0.5, -1, 2, 0], [1, 4, 0.1, 2]])
    conv = nn.Conv2d(4, 6, 3, groups=2)
    actual = convolved_moments(*relu_moments(mean, var), conv)
    # The authors draw activations, one map per channel.
    noise = torch.randn(1, 4, 600, 600)
    drawn = mean[:, None, None] + noise * var.sqrt()[:, None, None]
    y = conv(drawn.relu()).double()
    torch.testing.assert_close(actual[0], y.mean((0, 2, 3)), rtol=0, atol=0.05)
    torch.testing.assert_close(actual[1], y.var((0, 2, 3)), rtol=0.03, atol=0)


def test_constant_activations():
    mean, var = relu_moments(torch.tensor([-1.0, 0, 2]), torch.zeros(3))
    assert mean.tolist() == [0, 0, 2]
    assert var.tolist() == [0, 0, 0]


def test_gain_of_one_is_batch_norm():
    x, predicted = make_input((3, 8, 5, 4)), make_predicted_bkn(8).double()
    predicted.gain = 1.0
    expected = run(BN(8).double(), call, x)
    actual = run(predicted, call, x)
    for results in (expected, actual):
        results.pop('running_var')  # biased here
    assert_same(actual, expected, 1e-12)


def test_implausible_prediction_is_ignored():
    x, layer = make_input((3, 8, 5, 4)), make_predicted_bkn(8).double()
    batch_mean, layer.momentum = x.mean((0, 2, 3)), 1.0
    layer(x)
    assert not torch.allclose(layer.running_mean, batch_mean)
    ((before, _),) = layer.prior.terms
    nn.init.constant_(before.weight, 100)
    layer(x)
    torch.testing.assert_close(layer.running_mean, batch_mean)


def test_gradient_reaches_the_convolution():
    x, layer = make_input((3, 8, 5, 4)), make_predicted_bkn(8).double()
    weight = layer.prior.conv.weight
    (actual,) = torch.autograd.grad(uneven_loss(layer(x)), weight)
    (y,) = reference.bkn(layer, [x])
    (expected,) = torch.autograd.grad(uneven_loss(y), weight)
    assert expected.abs().sum() > 0
    torch.testing.assert_close(actual, expected)


def test_scale_of_the_convolution_does_not_matter():
    # The prediction scales with the weight, as the batch does.
    layer, z = make_predicted_bkn(8).double(), torch.randn(2, 4, 6, 6).double()
    conv, layer.eps = layer.prior.conv, 0
    y = layer(conv(z))
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter *= 7
    torch.testing.assert_close(layer(conv(z)), y)


def test_recalibration_leaves_the_filter():
    norm, xs = BKN(8), torch.randn(3, 2, 8, 5, 4)
    assert recalibrate(norm, xs) == {}
