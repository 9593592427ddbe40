# Copyright (c) mmnorm contributors. All rights reserved.
"""Every layer has these properties, whatever its formula."""

import copy

import pytest
import torch

from mmnorm import BRN, GN, IC, SyncBN

from .cases import (
    CHANNELS,
    LAYERS,
    MOVING,
    SHAPES,
    assert_same,
    call,
    has_another_gradient,
    make_input,
    make_layer,
    make_reference,
    run,
    uneven_loss,
)

START = {'bias': 0, 'tau': 0, 'learned_eps': 1e-4}
every_layer = pytest.mark.parametrize('name', LAYERS)
BATCH_STATISTICS = (
    'BN',
    'BKN',
    'BKN predicted',
    'BRN',
    'EvoNormB0',
    'IC',
    'SyncBN',
    'SyncBN cumulative',
    'BCN batch',
    'SN',
    'SSN',
    'MetaNorm batch',
    'MetaNorm fixed',
)


@every_layer
@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize('shape', SHAPES.values(), ids=SHAPES)
def test_equals_reference(name, training, shape):
    layer, x = make_layer(name).train(training), make_input(shape)
    assert_same(run(layer, call, x), run(layer, make_reference(name), x))


@every_layer
def test_equals_reference_over_steps(name):
    layer, reference = make_layer(name), make_reference(name)
    twin = copy.deepcopy(layer)
    for seed in range(20):
        x = make_input((1, CHANNELS, 4, 5), seed).detach()
        torch.testing.assert_close(layer(x), reference(twin, x))
    assert_same(layer.state_dict(), twin.state_dict())


@pytest.mark.parametrize(
    ('name', 'training'),
    [
        (name, training)
        for name in LAYERS
        for training in (True, False)
        # These layers differ from their derivative on purpose.
        if not has_another_gradient(name, training)
    ],
)
def test_gradcheck(name, training):
    layer = make_layer(name).train(training)
    x = make_input((2, CHANNELS, 2, 3))
    buffers = {k: b.clone() for k, b in layer.named_buffers()}
    parameters = dict(layer.named_parameters())

    def forward(x, *values):
        named = dict(zip(parameters, values, strict=True))
        # Each evaluation starts from the same running statistics.
        state = named | {k: b.clone() for k, b in buffers.items()}
        return torch.func.functional_call(layer, state, (x,))

    if 'constant' in name and training:
        # Numerical differences agree only where the estimates do not move.
        layer.bn.momentum = 0.0
    assert torch.autograd.gradcheck(
        forward,
        (x, *(p.detach().requires_grad_() for p in parameters.values())),
    )


@every_layer
@pytest.mark.parametrize('num_images', [0, 1, 2])
@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
def test_cardinality(name, num_images, training):
    layer = LAYERS[name][0](CHANNELS).train(training)
    for spatial in ((3, 4), (1, 1), (), (0, 2)):
        x = torch.rand(num_images, CHANNELS, *spatial, requires_grad=True)
        y = layer(x)
        assert y.shape == x.shape
        y.sum().backward()
        assert x.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in layer.parameters())
        assert all(b.isfinite().all() for b in layer.buffers())


@every_layer
def test_no_image_leaves_statistics(name):
    layer = make_layer(name)
    before = copy.deepcopy(layer.state_dict())
    layer(torch.rand(0, CHANNELS, 3, 3, dtype=torch.float64))
    assert_same(layer.state_dict(), before)


@pytest.mark.parametrize('name', BATCH_STATISTICS)
def test_single_value_uses_running_statistics(name):
    layer, x = make_layer(name), make_input((1, CHANNELS, 1, 1))
    in_eval = copy.deepcopy(layer).eval()
    before = copy.deepcopy(layer.state_dict())
    torch.testing.assert_close(layer(x), in_eval(x))
    assert_same(layer.state_dict(), before)


@every_layer
def test_noncontiguous(name):
    layer, x = make_layer(name), make_input((2, CHANNELS, 6, 5))
    strided = x.detach().flip(3).transpose(2, 3).contiguous()
    strided = strided.transpose(2, 3).flip(3)
    assert not strided.is_contiguous()
    assert_same(run(layer, call, strided), run(layer, call, x))


@every_layer
@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
def test_channels_last(name, training):
    layer = make_layer(name).train(training)
    x = make_input((2, CHANNELS, 6, 5))
    last = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    y = layer(last)
    assert y.is_contiguous(memory_format=torch.channels_last)
    y.square().sum().backward()
    assert last.grad.is_contiguous(memory_format=torch.channels_last)
    layer = make_layer(name).train(training)
    assert_same(run(layer, call, last), run(layer, call, x))


@every_layer
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('half_parameters', [False, True])
def test_half_precision(name, dtype, half_parameters):
    layer = make_layer(name).float()
    x = make_input((2, CHANNELS, 6, 5)).detach().to(dtype)
    if half_parameters:
        layer = layer.to(dtype)
    expected = copy.deepcopy(layer).float()(x.float())
    y = layer(x.requires_grad_())
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=2e-2, atol=3e-2)
    y.float().square().sum().backward()
    assert x.grad.dtype == dtype
    assert all(p.grad.dtype == p.dtype for p in layer.parameters())


@every_layer
@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
def test_half_parameters_of_quiet_and_of_loud_channels(name, training):
    # The inverse of a small variance and a large variance are inf in float16.
    if not training and torch.__version__ < '2.2':
        pytest.skip('torch 2.1 has no batch_norm in float16 on CPU')
    layer = make_layer(name).float().half().train(training)
    x = make_input((2, CHANNELS, 6, 5)).detach().half()
    x[:, 0] *= 2e-3
    # MABN keeps mean squares, and 65504 is the largest number of float16.
    loud = 60 if name == 'MABN moving' else 200
    x[:, 1] *= loud if training else 1
    for key, buffer in layer.named_buffers():
        if key.endswith('running_var'):
            buffer[0] = 0
    expected = copy.deepcopy(layer).float()(x.float())
    torch.testing.assert_close(
        layer(x).float(), expected, rtol=2e-2, atol=3e-2
    )


@every_layer
def test_autocast(name):
    layer, x = make_layer(name).float(), make_input((2, CHANNELS, 6, 5))
    x = x.detach().bfloat16()
    outside = copy.deepcopy(layer)(x)
    with torch.autocast('cpu', torch.bfloat16):
        inside = layer(x)
    assert inside.dtype == torch.bfloat16
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


@every_layer
def test_large_mean(name):
    # float32 has 7 digits. With a mean of 1000 standard deviations, 4 digits
    # of the deviations remain; raw second moments would keep no digit.
    layer = make_layer(name).eval()
    for buffer in layer.buffers():
        buffer.zero_()
    layer.train()
    x = make_input((2, CHANNELS, 32, 32)).detach() + 2000
    x = x.float()
    expected = copy.deepcopy(layer)(x.double())
    actual = layer.float()(x)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-3, atol=1e-3)


@every_layer
def test_non_finite_never_enters_running_statistics(name):
    layer = make_layer(name)
    before = copy.deepcopy(layer.state_dict())
    for value in (float('nan'), float('inf')):
        x = make_input((2, CHANNELS, 3, 3)).detach()
        x[1, 2, 0, 0] = value
        layer(x)
    assert_same(layer.state_dict(), before)


@pytest.mark.parametrize(
    # These consist of torch's operators, which have second derivatives.
    'name',
    [name for name in LAYERS if not name.startswith(('EvoNorm', 'GW'))],
)
def test_second_derivative_is_refused(name):
    layer, x = make_layer(name), make_input((2, CHANNELS, 3, 3))
    if isinstance(layer, (GN, IC, SyncBN)) and not isinstance(layer, BRN):
        # On maps, torch's own operator runs, which has a second derivative.
        x = make_input((2, CHANNELS))
    (grad,) = torch.autograd.grad(
        layer(x).square().sum(), x, create_graph=True
    )
    with pytest.raises(RuntimeError, match='once_differentiable'):
        grad.sum().backward()


@every_layer
def test_frozen_parameters(name):
    layer, x = make_layer(name), make_input((2, CHANNELS, 3, 3))
    expected = run(layer, call, x)
    layer.requires_grad_(False)
    uneven_loss(layer(x)).backward()
    torch.testing.assert_close(x.grad, expected['input gradient'])
    assert all(p.grad is None for p in layer.parameters())


@every_layer
def test_frozen_input(name):
    layer, x = make_layer(name), make_input((2, CHANNELS, 3, 3))
    expected = run(layer, call, x)
    uneven_loss(layer(x.detach())).backward()
    for key, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[f'{key} gradient'])


@every_layer
def test_called_twice_before_backward(name):
    # The levels of a feature pyramid share their head.
    layer, reference = make_layer(name), make_reference(name)

    def twice(f):
        def forward(layer, x):
            return f(layer, x) + f(layer, 2 * x[..., 1:])[..., :1].mean()

        return forward

    x = make_input((2, CHANNELS, 3, 3))
    assert_same(run(layer, twice(call), x), run(layer, twice(reference), x))


@every_layer
def test_state_dict_round_trip(name):
    layer, other = make_layer(name, seed=3), make_layer(name, seed=4)
    other.load_state_dict(copy.deepcopy(layer.state_dict()))
    assert_same(other.state_dict(), layer.state_dict(), tolerance=0)


@every_layer
def test_repr(name):
    layer = LAYERS[name][0](CHANNELS)
    text = repr(layer)
    assert text.startswith(type(layer).__name__ + '(')
    for key in ('eps', 'momentum', 'num_groups', 'estimate', 'use_bn'):
        if hasattr(layer, key):
            assert f'{key}={getattr(layer, key)}' in text


@every_layer
def test_default_init_is_standard(name):
    layer = LAYERS[name][0](CHANNELS)
    for key, parameter in layer.named_parameters():
        value = START.get(key.rpartition('.')[2], 1)
        if '_logit' in key:  # the sign depends on the arguments
            parameter = parameter.abs()
        assert (parameter == value).all(), key


@pytest.mark.parametrize('name', ['GN', 'GW', 'EvoNormS0', 'EvoNormB0'])
def test_exception(name):
    with pytest.raises(ValueError, match=r'\(N, [C8], \*\).* got \(8,\)'):
        make_layer(name)(torch.rand(8))


@every_layer
@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
def test_dynamo(name, training):
    if name == 'BKN predicted' and torch.__version__ < '2.2':
        pytest.skip('dynamo of torch 2.1 reads no attribute of another layer')
    layer, x = make_layer(name).train(training), make_input((2, CHANNELS, 5))
    torch.compiler.reset()
    whole = not (name in MOVING and training)

    def call_compiled(layer, x):
        return torch.compile(layer, backend='aot_eager', fullgraph=whole)(x)

    assert_same(run(layer, call_compiled, x), run(layer, call, x))


@every_layer
def test_meta_device(name):
    layer = make_layer(name).to('meta')
    x = torch.empty(2, CHANNELS, 6, 5, dtype=torch.float64, device='meta')
    assert layer.eval()(x).shape == x.shape


@every_layer
@pytest.mark.parametrize('channels', [4, CHANNELS + 1, 2 * CHANNELS])
def test_another_number_of_channels(name, channels):
    # The kernels would read and write behind the parameters.
    layer = make_layer(name)
    with pytest.raises(
        (ValueError, RuntimeError), match=r'channels|size|shape'
    ):
        layer(make_input((2, channels, 6, 5)))


@every_layer
def test_another_device(name):
    layer = make_layer(name).to('meta')
    with pytest.raises((ValueError, RuntimeError), match='device|is on cpu'):
        layer(make_input((2, CHANNELS, 6, 5)))
