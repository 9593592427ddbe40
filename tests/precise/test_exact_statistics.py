# Copyright (c) mmnorm contributors. All rights reserved.
"""Running statistics recalibrated over batches, against plain formulas."""

import copy
import random
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmnorm import BCN, SN, SyncBN, fuse_norm_act
from mmnorm.precise.exact_statistics import Shift, recalibrate
from tests import reference
from tests.layers.cases import assert_same

NORMS = {
    'BatchNorm': nn.BatchNorm2d,
    'SyncBatchNorm': nn.SyncBatchNorm,
    'SyncBN': SyncBN,
    'SyncBN cumulative': partial(SyncBN, momentum=None),
    'SN': SN,
    'BCN batch': partial(BCN, num_groups=4, estimate=False),
    'BCN estimate': partial(BCN, num_groups=4),
    'BCN step': partial(BCN, num_groups=4, sync='step'),
}
POOLED = ['SyncBN', 'SN', 'BCN batch', 'BCN estimate']


def build(name: str, depth: int = 3) -> nn.Sequential:
    """Convolutions, norms and activations, with statistics off the truth."""
    torch.manual_seed(0)
    modules = []
    for channels in (3, *[8] * (depth - 1)):
        conv = nn.Conv2d(channels, 8, 3, padding=1)
        modules += [conv, NORMS[name](8), nn.ReLU()]
    net = nn.Sequential(*modules).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return scrambled(net)


def scrambled(net: nn.Module, seed: int = 0) -> nn.Module:
    net = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    for key, buffer in net.named_buffers():
        noise = torch.rand(buffer.shape, generator=generator)
        if key.endswith('running_mean'):
            buffer.copy_(5 * noise - 2)
        if key.endswith('running_var'):
            buffer.copy_(4 * noise + 0.1)
    return net


def make_batches(number: int, images: int = 2, seed: int = 1) -> list[Tensor]:
    """Images of different sizes, brightness and contrast."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for i in range(number):
        shape = (images + i % 2, 3, 5 + i % 3, 6 + 2 * (i % 2))
        x = torch.randn(shape, generator=generator).double()
        batches.append(x * (1 + i % 4) + (i % 5) - 2)
    return batches


def statistics(net: nn.Module) -> dict[str, Tensor]:
    kept = ('running_mean', 'running_var')
    buffers = copy.deepcopy(dict(net.named_buffers()))
    return {k: v for k, v in buffers.items() if k.endswith(kept)}


def stats_of(layer: nn.Module) -> nn.Module:
    return layer.bn if isinstance(layer, BCN) else layer


def set_statistics(stats: nn.Module, xs: list[Tensor], unbiased: bool) -> None:
    values = reference.all_values(xs)
    stats.running_mean.copy_(values.mean(1))
    stats.running_var.copy_(values.var(1, correction=int(unbiased)))


def plain(layer: nn.Module) -> Callable[[Tensor, list[Tensor]], Tensor]:
    """The formula of a layer in training; for BCN, of all batches so far."""
    frozen = copy.deepcopy(layer)  # references move momentum statistics

    def normalize(x: Tensor, so_far: list[Tensor]) -> Tensor:
        if isinstance(layer, BCN) and layer.estimate:
            set_statistics(frozen.bn, so_far, unbiased=False)
            frozen.bn.eval()
            return reference.bcn(frozen, [x])[0]
        if isinstance(layer, BCN):
            return reference.bcn(frozen, [x])[0]
        if isinstance(layer, SN):
            return reference.sn(frozen, [x])[0]
        return reference.sync_bn(frozen, [x])[0]

    return normalize


@torch.no_grad()
def expected(net: nn.Sequential, batches: list[Tensor]) -> dict[str, Tensor]:
    """Layer after layer, over all batches at once."""
    net = copy.deepcopy(net)
    xs = batches
    for layer in net:
        if not isinstance(layer, (nn.Conv2d, nn.ReLU)):
            biased = isinstance(layer, SN) or getattr(layer, 'estimate', False)
            normalize = plain(layer)
            set_statistics(stats_of(layer), xs, not biased)
            xs = [normalize(x, xs[: i + 1]) for i, x in enumerate(xs)]
        else:
            xs = [layer(x) for x in xs]
    return statistics(net)


@pytest.mark.parametrize('name', NORMS)
def test_equals_the_plain_formula(name):
    net, batches = build(name), make_batches(7)
    recalibrated = copy.deepcopy(net)
    moved = recalibrate(recalibrated, batches)
    assert_same(statistics(recalibrated), expected(net, batches))
    assert list(moved) == ['1', '4', '7']
    assert all(isinstance(shift, Shift) for shift in moved.values())


@pytest.mark.parametrize('name', NORMS)
def test_scrambled_statistics_are_repaired(name):
    net, batches = build(name), make_batches(5)
    broken = scrambled(net, seed=3)
    stats_of(broken[1]).running_var.fill_(float('nan'))
    for one in (net, broken):
        recalibrate(one, batches)
    assert_same(statistics(broken), statistics(net), 0)


def test_estimates_are_those_that_evaluation_wants():
    # All it takes: in evaluation, the batch part of every layer turns what
    # it sees into mean 0 and variance 1.
    net, batches = build('BCN estimate', 5), make_batches(300)
    recalibrate(net, batches)
    xs = batches
    for layer in net.eval():
        if isinstance(layer, BCN):
            values = reference.all_values(xs)
            std = layer.bn.running_var.sqrt()
            off = (values.mean(1) - layer.bn.running_mean) / std
            assert off.abs().max() < 0.02
            assert (values.std(1) / std - 1).abs().max() < 0.02
        xs = [layer(x).detach() for x in xs]


def ragged(rank: int, batches: list[Tensor]) -> list[Tensor]:
    """The share of a rank: the first image, or the others."""
    return [batch[:1] if rank == 0 else batch[1:] for batch in batches]


def recalibrated_on(rank: int, name: str, batches: list[Tensor]) -> dict:
    net = build(name)
    recalibrate(net, ragged(rank, batches))
    return statistics(net)


@pytest.mark.parametrize('name', POOLED)
def test_two_ragged_processes_equal_one(ranks, name):
    # Images of one size, so that they make one batch; some rank has none.
    batches = make_batches(6, images=1)
    first, second = ranks(2).run(recalibrated_on, name, batches)
    assert_same(first, second, 0)
    net = build(name)
    recalibrate(net, batches)
    assert_same(first, statistics(net), 1e-10)


@pytest.mark.parametrize('name', ['BatchNorm', 'BCN step'])
def test_what_does_not_communicate_ends_the_same(ranks, name):
    # Each process normalizes by itself, and all is pooled in the end: the
    # first layer, which no other precedes, has the statistics of all.
    batches = make_batches(6, images=2)
    first, second = ranks(2).run(recalibrated_on, name, batches)
    assert_same(first, second, 0)
    net = build(name)
    recalibrate(net, batches)
    one = {k: v for k, v in statistics(net).items() if k.startswith('1.')}
    assert_same({key: first[key] for key in one}, one, 1e-10)


def snapshot(net: nn.Module) -> dict:
    flags = {name: m.training for name, m in net.named_modules()}
    hooks = [len(m._forward_hooks) for m in net.modules()]
    hooks += [len(m._forward_pre_hooks) for m in net.modules()]
    chance = (
        random.getstate(),
        str(np.random.get_state()),  # noqa: NPY002
        torch.get_rng_state().tolist(),
    )
    return dict(flags=flags, hooks=hooks, chance=chance)


class Forgetful(nn.Module):
    """What else a forward may move."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('scale', torch.ones(1))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.scale += 1
        random.random()
        np.random.rand()  # noqa: NPY002
        return x + torch.rand_like(x)


@pytest.mark.parametrize('fails', [False, True])
def test_all_else_is_as_before(fails):
    net = build('BCN estimate').append(Forgetful()).append(SyncBN(8).double())
    net[2].eval()
    net[4].bn.momentum = 0.3
    kept = snapshot(net)
    state = copy.deepcopy(net.state_dict())

    def batches() -> Iterator[Tensor]:
        yield from make_batches(2)
        if fails:
            raise OSError('no more')

    if fails:
        with pytest.raises(OSError, match='no more'):
            recalibrate(net, batches())
    else:
        recalibrate(net, batches())
    assert snapshot(net) == kept
    assert net[9].calls == 0
    assert net[4].bn.momentum == 0.3
    changed = {
        key
        for key, value in net.state_dict().items()
        if not value.equal(state[key])
    }
    norms = () if fails else ('1.bn', '4.bn', '7.bn', '10')
    assert changed == {
        f'{norm}.running_{kind}' for norm in norms for kind in ('mean', 'var')
    }
    for parameter in net.parameters():
        assert parameter.requires_grad
        assert parameter.grad is None


class FrozenBackbone(nn.Sequential):
    def train(self, mode: bool = True) -> None:
        # As that of mmdet's ResNet with norm_eval=True, which returns nothing.
        super().train(mode)
        stats_of(self[1]).eval()


@pytest.mark.parametrize('name', ['BatchNorm', 'BCN estimate'])
def test_frozen_norms_stay(name):
    net = FrozenBackbone(*build(name))
    for parameter in net[4].parameters():
        parameter.requires_grad = False  # the affine part alone
    before = statistics(net)
    net.eval()
    assert list(recalibrate(net, make_batches(3))) == ['4', '7']
    after = statistics(net)
    for key, value in before.items():
        assert after[key].equal(value) == key.startswith('1.')


@pytest.mark.parametrize('name', NORMS)
def test_not_finite_batches_do_not_enter(name):
    net, batches = build(name), make_batches(4)
    bad = batches[0].clone()
    bad[0, 0, 0, 0] = float('inf')
    other = copy.deepcopy(net)
    recalibrate(net, [bad, *batches[:2], bad, *batches[2:]])
    recalibrate(other, batches)
    assert_same(statistics(net), statistics(other), 0)


class Finite(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.nan_to_num(0, 0, 0)


def test_bad_first_batch_carries_no_old_statistics():
    nets = []
    for seed in range(2):
        net = build('BCN estimate', 2)
        net[2] = Finite()
        net[4] = SyncBN(8).double()
        nets.append(scrambled(net, seed))
    bad, *others = make_batches(3, images=3)
    bad[0] = float('inf')
    for net in nets:
        recalibrate(net, [bad, *others])
    assert_same(statistics(nets[0]), statistics(nets[1]), 0)


class Heads(nn.Module):
    def __init__(self, norm: Callable) -> None:
        super().__init__()
        self.rois, self.idle = norm(8), norm(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.rois(x)


@pytest.mark.parametrize('name', ['SyncBN', 'SN', 'BCN batch', 'BCN estimate'])
def test_layers_that_see_nothing(name):
    net = scrambled(Heads(NORMS[name]).double())
    before = statistics(net)
    rois = [torch.rand(n, 8, 3, 3).double() for n in (0, 2, 0, 3)]
    with pytest.warns(UserWarning, match=r'keep those they have: idle$'):
        moved = recalibrate(net, rois)
    assert list(moved) == ['rois']
    after = statistics(net)
    for key, value in before.items():
        assert after[key].equal(value) == key.startswith('idle')
    values = reference.all_values(rois)
    torch.testing.assert_close(
        stats_of(net.rois).running_mean, values.mean(1), rtol=0, atol=1e-12
    )
    with pytest.warns(UserWarning, match=': rois, idle$'):
        recalibrate(net, rois[:1])
    assert_same(statistics(net), after, 0)


def test_one_value_a_channel_counts_where_training_counts_it():
    # As in the pooling branch of DeepLab: a norm of batch statistics was
    # trained with the running ones there, and they never moved.
    pixels = [torch.rand(1, 8, 1, 1).double() for _ in range(4)]
    for name in ('SyncBN', 'SN', 'BCN batch'):
        net = nn.Sequential(NORMS[name](8).double())
        before = statistics(net)
        with pytest.warns(UserWarning, match='keep those they have: 0$'):
            assert recalibrate(net, pixels) == {}
        assert_same(statistics(net), before, 0)
    net = nn.Sequential(BCN(8, 4).double())
    recalibrate(net, pixels)
    values = torch.cat(pixels)[..., 0, 0]
    bn = net[0].bn
    torch.testing.assert_close(bn.running_mean, values.mean(0))
    torch.testing.assert_close(bn.running_var, values.var(0, correction=0))


def test_inputs_without_pixels():
    x = torch.randn(9, 4).double()
    for norm in (nn.BatchNorm1d(4), SyncBN(4), BCN(4, 2)):
        net = nn.Sequential(norm.double())
        recalibrate(net, [x[:4], x[4:]])
        torch.testing.assert_close(stats_of(norm).running_mean, x.mean(0))


def test_norms_without_running_statistics_are_none():
    for norm in (
        nn.BatchNorm2d(3, track_running_stats=False),
        SN(3, use_bn=False),
    ):
        assert recalibrate(norm.double(), make_batches(1)) == {}


def test_fused_and_compiled_models():
    net, batches = build('BCN estimate'), make_batches(3)
    fused, compiled = copy.deepcopy(net), copy.deepcopy(net)
    assert fuse_norm_act(fused) == 1
    # As mmengine does for `compile=True`.
    compiled.forward = torch.compile(compiled.forward, backend='eager')
    for one in (net, fused, compiled):
        recalibrate(one, batches)
        assert_same(statistics(one), statistics(net), 1e-12)
    assert hasattr(compiled.forward, '_torchdynamo_orig_callable')


def test_distance_is_reported():
    net = nn.Sequential(nn.BatchNorm2d(2, eps=1e-9))
    x = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 2, 500, 1)
    net[0].running_mean.fill_(3)
    net[0].running_var.fill_(4)
    ((name, shift),) = recalibrate(net, [x]).items()
    assert name == '0'
    assert shift.mean == pytest.approx(3, rel=1e-3)
    assert shift.std == pytest.approx(2, rel=1e-3)
    ((_, shift),) = recalibrate(net, [x]).items()
    assert shift == pytest.approx((0, 1))


def test_no_batch():
    net = build('SyncBN')
    before = statistics(net)
    with pytest.raises(ValueError, match='there is no batch'):
        recalibrate(net, [])
    assert_same(statistics(net), before, 0)
