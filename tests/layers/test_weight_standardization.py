# Copyright (c) mmnorm contributors. All rights reserved.
"""The published forms of weight standardization."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvAWS2d, ConvWS2d
from torch import Tensor, nn

from mmnorm import ConvWS, ScaledConvWS
from tests import reference

TIMM = dict(unbiased=False, eps_inside_root=True, eps=1e-6)
FORMS = {
    'WS authors': dict(),
    'BCN authors': dict(eps_inside_root=True),
    'WS authors, TensorFlow': dict(unbiased=False),
    'timm': TIMM,
}
SHAPES = {
    'dense': dict(kernel_size=3, padding=1, stride=2),
    'grouped': dict(kernel_size=(3, 1), groups=2, bias=False),
    'depthwise': dict(kernel_size=3, groups=4, dilation=2, padding=2),
}


def make(cls=ConvWS, scale=1.0, **options) -> nn.Module:
    torch.manual_seed(0)
    conv = cls(4, 8, **options).double()
    conv.weight.data.mul_(scale)
    for name, parameter in conv.named_parameters():
        if name == 'gain':
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return conv


def results(conv: nn.Module, forward=None) -> dict[str, Tensor]:
    """Return the output and all gradients of a step."""
    conv = copy.deepcopy(conv)
    torch.manual_seed(1)
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64, requires_grad=True)
    y = conv(x) if forward is None else forward(conv, x)
    y.square().sum().backward()
    grads = {name: p.grad for name, p in conv.named_parameters()}
    return {'output': y.detach(), 'input': x.grad} | grads


def with_weight(standardize):
    """Return a forward with another standardization."""

    def forward(conv, x):
        return conv._conv_forward(x, standardize(conv), conv.bias)

    return forward


def assert_equal(actual, expected, tolerance=1e-10) -> None:
    torch.testing.assert_close(
        actual, expected, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize('scale', [1, 1e-4], ids=['usual', 'decayed'])
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('form', FORMS)
def test_equals_formula(form, shape, scale):
    conv = make(scale=scale, **SHAPES[shape], **FORMS[form])
    arguments = dict(eps=1e-5, unbiased=True, eps_inside_root=False)
    arguments |= FORMS[form]
    formula = with_weight(
        lambda c: reference.standardize_weight(c.weight, **arguments)
    )
    assert_equal(results(conv), results(conv, formula))


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize(
    ('theirs', 'form'),
    [(ConvWS2d, 'WS authors'), (ConvAWS2d, 'BCN authors')],
)
def test_equals_mmcv(theirs, form, shape):
    theirs = theirs(4, 8, **SHAPES[shape]).double()
    ours = make(**SHAPES[shape], **FORMS[form])
    ours.load_state_dict(dict(theirs.named_parameters()))
    assert_equal(results(ours), results(theirs))


@pytest.mark.parametrize('shape', SHAPES)
def test_equals_timm(shape):
    # timm standardizes with the batch norm of torch, filters as channels.
    def batch_norm(conv, weight=None):
        planes = conv.weight.reshape(1, conv.out_channels, -1)
        options = dict(weight=weight, training=True, eps=1e-6)
        y = F.batch_norm(planes, None, None, **options)
        return y.reshape_as(conv.weight)

    conv = make(**SHAPES[shape], **TIMM)
    assert_equal(results(conv), results(conv, with_weight(batch_norm)))

    def scaled(conv):
        scale = 1.7 * conv.weight[0].numel() ** -0.5
        return batch_norm(conv, (conv.gain * scale).view(-1))

    conv = make(ScaledConvWS, gamma=1.7, **SHAPES[shape])
    assert_equal(results(conv), results(conv, with_weight(scaled)))


def test_scaled_equals_formula():
    def formula(conv):
        gain = 1.7 / (4 * 9) ** 0.5 * conv.gain.flatten()
        return reference.standardize_weight(
            conv.weight, 1e-6, False, True, gain
        )

    conv = make(ScaledConvWS, kernel_size=3, gamma=1.7)
    assert_equal(results(conv), results(conv, with_weight(formula)))


def test_scaled_keeps_the_variance():
    conv = ScaledConvWS(64, 64, 3, bias=False)
    y = conv(torch.randn(4, 64, 20, 20))
    torch.testing.assert_close(y.var(), torch.tensor(1.0), rtol=0.05, atol=0)
    conv = ScaledConvWS(64, 64, 3, bias=False, gamma=1.7139588594436646)
    y = conv(torch.randn(4, 64, 20, 20).relu() - 1 / (2 * torch.pi) ** 0.5)
    torch.testing.assert_close(y.var(), torch.tensor(1.0), rtol=0.05, atol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('form', [*FORMS, 'scaled'])
def test_small_weights_in_half_precision(form, dtype):
    """A variance of 1e-8 is 0 in float16."""
    cls = ScaledConvWS if form == 'scaled' else ConvWS
    conv = make(cls, 1e-3, kernel_size=3, **FORMS.get(form, {})).to(dtype)
    assert 1e-5 < conv.weight.float().std() < 3e-4
    exact = copy.deepcopy(conv).double().standardized_weight()
    actual = conv.standardized_weight()
    assert actual.dtype == dtype
    rounding = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(
        actual.double(), exact, rtol=rounding, atol=rounding
    )
    actual.float().square().sum().backward()
    assert all(
        p.grad is None or (p.grad.dtype == dtype and p.grad.isfinite().all())
        for p in conv.parameters()
    )


@pytest.mark.parametrize('cls', [ConvWS, ScaledConvWS])
def test_autocast_standardizes_in_float32(cls):
    conv = make(cls, 1e-3, kernel_size=3).float()
    x = torch.randn(1, 4, 5, 5)
    with torch.autocast('cpu', torch.bfloat16):
        assert conv.standardized_weight().dtype == torch.float32
        y = conv(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), conv(x), rtol=0.02, atol=0.05)


@pytest.mark.parametrize('cls', [ConvWS, ScaledConvWS])
def test_gradcheck(cls):
    conv = make(cls, kernel_size=2)
    x = torch.randn(1, 4, 3, 3, dtype=torch.float64)
    names, values = zip(*conv.named_parameters(), strict=True)

    def forward(*values):
        state = dict(zip(names, values, strict=True))
        return torch.func.functional_call(conv, state, (x,))

    assert torch.autograd.gradcheck(forward, values)


@pytest.mark.parametrize('fan_in', [1, 4])
@pytest.mark.parametrize('form', [*FORMS, 'scaled', 'without eps'])
def test_equal_weights_become_zero(form, fan_in):
    cls = ScaledConvWS if form == 'scaled' else ConvWS
    options = dict(eps=0) if form == 'without eps' else FORMS.get(form, {})
    conv = cls(fan_in, 3, 1, bias=False, **options)
    nn.init.constant_(conv.weight, 0.25)
    y = conv(torch.rand(2, fan_in, 4, 4))
    assert not y.any()
    y.sum().backward()
    assert conv.weight.grad.isfinite().all()


@pytest.mark.parametrize('cls', [ConvWS, ScaledConvWS])
def test_compiles(cls):
    torch.compiler.reset()

    def compiled(conv, x):
        return torch.compile(conv, backend='aot_eager', fullgraph=True)(x)

    conv = make(cls, kernel_size=3)
    assert_equal(results(conv, compiled), results(conv))


def test_state_dict_is_that_of_a_convolution():
    plain = nn.Conv2d(4, 8, 3)
    for options in FORMS.values():
        ConvWS(4, 8, 3, **options).load_state_dict(plain.state_dict())
    scaled = ScaledConvWS(4, 8, 3).state_dict()
    assert scaled.pop('gain').shape == (8, 1, 1, 1)  # as in timm
    assert scaled.keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    ('cls', 'name', 'value'),
    [
        (ConvWS, 'unbiased', 'no'),
        (ConvWS, 'eps_inside_root', 1),
        (ScaledConvWS, 'eps', -1),
        (ScaledConvWS, 'gamma', '1'),
        (ScaledConvWS, 'gamma', float('nan')),
    ],
)
def test_wrong_value(cls, name, value):
    message = f'conv_cfg.{name}={value!r}: set it to '
    with pytest.raises(ValueError, match=message):
        cls(3, 8, 1, **{name: value})


def test_repr():
    text = repr(ConvWS(3, 8, 1, eps=1e-3, unbiased=False))
    assert 'eps=0.001, unbiased=False, eps_inside_root=False' in text
    assert 'eps=1e-06, gamma=1.7' in repr(ScaledConvWS(3, 8, 1, gamma=1.7))
