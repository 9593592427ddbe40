# Copyright (c) mmnorm contributors. All rights reserved.
"""Layers under test, with their references, and corner shapes."""

import copy
from functools import partial

import torch
from torch import Tensor, nn

from mmnorm import (
    BCN,
    BKN,
    BN,
    BRN,
    FRN,
    GN,
    GW,
    IC,
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
from mmnorm.layers.batch_kalman_norm import Prior
from tests import reference

CHANNELS = 8


class StepBCN(BCN):
    """Let a copy keep its sums, so that a test compares it with this one."""

    def __getstate__(self) -> dict:
        return vars(self)


def make_step_bcn(num_features: int, **options) -> BCN:
    """Return a layer as :class:`mmnorm.StepSync` prepares it."""
    layer = StepBCN(num_features, 4, sync='step', **options)
    layer.start_steps()
    return layer


def make_moving_mabn(num_features: int) -> MABN:
    """Return a layer in the middle of a training."""
    layer = MABN(num_features, buffer_size=3)
    generator = torch.Generator().manual_seed(2)
    layer.num_batches_tracked += 2000
    layer.buffer_x2.uniform_(2, 6, generator=generator)
    layer.buffer_gz.uniform_(-0.3, 0.3, generator=generator)
    return layer


def make_predicted_bkn(num_features: int) -> BKN:
    """Return a layer behind another one and a convolution."""
    layer, before = BKN(num_features, gain=0.3), BKN(4).double()
    generator = torch.Generator().manual_seed(3)
    conv = nn.Conv2d(4, num_features, 3, groups=2).double()
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.uniform_(-0.7, 0.9, generator=generator)
        before.bias.copy_(torch.tensor([0.3, -1, 2, 0]))
        before.weight.copy_(torch.tensor([1, -3, 0.3, 2]))
    layer.prior = Prior(conv, ((before, 'output'),))
    return layer


def make_sparse_sn(num_features: int, **options) -> SSN:
    """Return a layer in the middle of a training."""
    layer = SSN(num_features, **options)
    layer.radius.fill_(0.6)
    return layer


LAYERS = {
    'GN': (partial(GN, num_groups=4), reference.gn),
    'GN auto': (partial(GN, num_groups='auto'), reference.gn),
    'GN one group': (partial(GN, num_groups=1), reference.gn),
    'GW': (partial(GW, num_groups=4), reference.gw),
    'GW per channel': (
        partial(GW, num_groups=8, eps=1e-2, num_iterations=7),
        reference.gw,
    ),
    'IN': (IN, reference.gn),
    'LN': (LN, reference.gn),
    'BN': (BN, reference.sync_bn),
    'SyncBN': (SyncBN, reference.sync_bn),
    'SyncBN cumulative': (partial(SyncBN, momentum=None), reference.sync_bn),
    'BRN': (
        partial(BRN, r_max=1.5, d_max=0.5, start=0, r_steps=0, d_steps=0),
        reference.brn,
    ),
    'BRN schedule': (
        partial(BRN, momentum=0.3, start=2, r_steps=9, d_steps=5),
        reference.brn,
    ),
    'BKN': (BKN, reference.bkn),
    'BKN predicted': (make_predicted_bkn, reference.bkn),
    # Its dropout is random.
    'IC': (partial(IC, p=0), reference.ic),
    'FRN': (FRN, reference.frn),
    'FRN learned eps': (partial(FRN, learn_eps=True), reference.frn),
    'EvoNormS0': (partial(EvoNormS0, num_groups=4), reference.evonorm_s0),
    'EvoNormB0': (EvoNormB0, reference.evonorm_b0),
    'MABN': (
        partial(MABN, buffer_size=3, warmup_iters=5, renorm_iters=8),
        reference.mabn,
    ),
    'MABN moving': (make_moving_mabn, reference.mabn),
    'BCN estimate': (partial(BCN, num_groups=4), reference.bcn),
    'BCN constant estimate': (
        partial(BCN, num_groups=4, estimate_grad=None),
        reference.bcn,
    ),
    'BCN batch': (
        partial(BCN, num_groups=4, estimate=False),
        reference.bcn,
    ),
    'BCN per channel': (
        partial(BCN, num_groups=4, channel_affine='channel', momentum=0.3),
        reference.bcn,
    ),
    'BCN gradient of batch': (
        partial(BCN, num_groups=4, grad_share=0.5),
        reference.bcn,
    ),
    'BCN gradient of image': (
        partial(BCN, num_groups=4, estimate_grad='image', grad_share=0.5),
        reference.bcn,
    ),
    'BCN one momentum': (
        partial(BCN, num_groups=4, base_batch_size=None),
        reference.bcn,
    ),
    'BCN step': (make_step_bcn, reference.bcn),
    'BCN step constant': (
        partial(make_step_bcn, estimate_grad=None),
        reference.bcn,
    ),
    'BCN step gradient of image': (
        partial(make_step_bcn, estimate_grad='image', grad_share=0.7),
        reference.bcn,
    ),
    'SN': (SN, reference.sn),
    'SN without BN': (partial(SN, use_bn=False), reference.sn),
    'SSN': (SSN, reference.ssn),
    'SSN sparse': (make_sparse_sn, reference.ssn),
    'SSN without BN': (partial(make_sparse_sn, use_bn=False), reference.ssn),
    'MetaNorm': (partial(MetaNorm, num_groups=4), reference.meta_norm),
    'MetaNorm batch': (
        partial(MetaNorm, num_groups=4, use_bn=True),
        reference.meta_norm,
    ),
    'MetaNorm fixed': (
        partial(MetaNorm, num_groups=2, use_bn=True, learn_gates=False),
        reference.meta_norm,
    ),
    'MetaNorm without BN': (
        partial(MetaNorm, num_groups=4, learn_gates=False),
        reference.meta_norm,
    ),
}
# These layers are their own activations.
IS_ACTIVATION = ('FRN', 'FRN learned eps', 'EvoNormS0', 'EvoNormB0')
# These layers are no affine maps of a plane.
WHITENING = ('GW', 'GW per channel')
# The statistics of these layers move in the backward, too.
MOVING = ('MABN', 'MABN moving')
# The coefficients of these layers consist of torch's operators.
NO_COEFFICIENT_KERNELS = (
    'BRN',
    'BRN schedule',
    'BKN predicted',
    'IC',
    *MOVING,
    *IS_ACTIVATION,
    *WHITENING,
    'SSN',
    'SSN sparse',
    'SSN without BN',
    'MetaNorm',
    'MetaNorm batch',
    'MetaNorm fixed',
    'MetaNorm without BN',
)
OF_ONE_IMAGE = ('GN', 'GW', 'IN', 'LN', 'FRN', 'EvoNormS0')
STATISTICS_LAYERS = [
    name
    for name in LAYERS
    if not name.startswith(OF_ONE_IMAGE)
    and 'without' not in name
    and name not in MOVING
]
SHAPES = {
    'two images': (2, CHANNELS, 5, 7),
    'one image': (1, CHANNELS, 6, 4),
    'one pixel': (3, CHANNELS, 1, 1),
    'one dimension': (2, CHANNELS, 9),
    'three dimensions': (2, CHANNELS, 2, 3, 4),
    'no dimension': (4, CHANNELS),
}


def make_layer(name: str, seed: int = 0) -> nn.Module:
    """Return a layer in float64 with random parameters and statistics."""
    generator = torch.Generator().manual_seed(seed)
    layer = LAYERS[name][0](CHANNELS).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.3 * noise)
        for key, buffer in layer.named_buffers():
            if key.endswith('running_mean'):
                buffer.add_(torch.randn(buffer.shape, generator=generator))
            if key.endswith('running_var'):
                buffer.add_(torch.rand(buffer.shape, generator=generator))
    return layer


def make_input(shape: tuple[int, ...], seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (2 * x + 0.7).requires_grad_()


def uneven_loss(y: Tensor) -> Tensor:
    """Return a loss with uneven weights.

    The gradient of a plain sum through a norm is 0.
    """
    options = dict(dtype=y.dtype, device=y.device)
    weights = torch.linspace(-1, 2, y.numel(), **options).view(y.shape)
    return (weights * y + 0.3 * y.square()).sum()


def has_another_gradient(name: str, training: bool) -> bool:
    """Return whether a layer differs from its derivative, on purpose."""
    layer = make_layer(name)
    if isinstance(layer, MetaNorm):
        return layer.learn_gates
    if not training:
        return False
    if isinstance(layer, (BRN, MABN)):
        return True
    estimates = isinstance(layer, BCN) and layer.estimate
    return estimates and layer.estimate_grad is not None


def run(layer: nn.Module, forward, x: Tensor) -> dict[str, Tensor]:
    """Return output, gradients and buffers of one step, by name."""
    layer, x = copy.deepcopy(layer), x.detach().clone().requires_grad_()
    y = forward(layer, x)
    uneven_loss(y).backward()
    results = {'output': y.detach(), 'input gradient': x.grad}
    results |= {f'{k} gradient': p.grad for k, p in layer.named_parameters()}
    return results | statistics(layer)


def statistics(network: nn.Module) -> dict[str, Tensor]:
    """Return the buffers, and the sums that wait for the next update."""
    sums = {
        f'{name}.step_sums': layer.step_sums
        for name, layer in network.named_modules()
        if getattr(layer, 'step_sums', None) is not None
    }
    return dict(network.named_buffers()) | sums


def call(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x)


def make_reference(name: str):
    """Return the reference of a layer, for the batch of one process."""

    def forward(layer: nn.Module, x: Tensor) -> Tensor:
        return LAYERS[name][1](layer, [x])[0]

    return forward


def assert_same(actual, expected, tolerance=1e-10) -> None:
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(
            actual[key], value, rtol=tolerance, atol=tolerance, msg=key
        )
