# Copyright (c) mmnorm contributors. All rights reserved.
"""N processes equal one process that has the images of all processes."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from tests.layers.cases import (
    CHANNELS,
    LAYERS,
    assert_same,
    make_input,
    make_layer,
    statistics,
    uneven_loss,
)

SYNCHRONIZED = (
    'SyncBN',
    'SyncBN cumulative',
    'BKN predicted',
    'BRN',
    'BRN schedule',
    'EvoNormB0',
    'IC',
    'BCN estimate',
    'BCN constant estimate',
    'BCN batch',
    'BCN per channel',
    'BCN gradient of batch',
    'BCN gradient of image',
    'BCN step gradient of image',
    'SN',
    'SSN sparse',
    'MetaNorm batch',
)
SHAPES = {
    'equal': [(2, 5, 4), (2, 5, 4)],
    'unequal numbers': [(3, 5, 4), (1, 5, 4)],
    'unequal sizes': [(1, 5, 4), (2, 9, 2)],
    'one without images': [(2, 5, 4), (0, 5, 4)],
    'all without images': [(0, 5, 4), (0, 3, 3)],
    'one pixel each': [(1, 1, 1), (1, 1, 1)],
    'one pixel in the world': [(1, 1, 1), (0, 1, 1)],
}


@contextmanager
def record_all_reduces() -> Iterator[list[int]]:
    """Yield the sizes of the all-reduces that this process takes part in."""
    sizes, original = [], dist.all_reduce

    def all_reduce(tensor, *args, **kwargs):
        sizes.append(tensor.numel())
        return original(tensor, *args, **kwargs)

    dist.all_reduce = all_reduce
    try:
        yield sizes
    finally:
        dist.all_reduce = original


def step(
    rank: int,
    name: str,
    xs: list[Tensor],
    dtype: torch.dtype = torch.float64,
    channels_last: bool = False,
) -> dict[str, Tensor]:
    layer, x = make_layer(name), xs[rank].to(dtype)
    if dtype != torch.float64:
        layer = layer.float()
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    x.requires_grad_()
    y = layer(x)
    uneven_loss(y).backward()
    seen = {'output': y.detach(), 'input gradient': x.grad}
    seen |= {f'{k} gradient': p.grad for k, p in layer.named_parameters()}
    return seen | dict(layer.named_buffers())


def run_one_process(layer: nn.Module, name: str, xs: list[Tensor]):
    xs = [x.detach().requires_grad_() for x in xs]
    ys = LAYERS[name][1](layer, xs)
    sum(uneven_loss(y) for y in ys).backward()
    return xs, ys


@pytest.mark.parametrize('name', SYNCHRONIZED)
@pytest.mark.parametrize('shapes', SHAPES.values(), ids=SHAPES)
def test_equals_one_process(ranks, name, shapes):
    check_equals_one_process(ranks, name, shapes)


def check_equals_one_process(ranks, name, shapes) -> None:
    xs = [
        make_input((n, CHANNELS, *size), seed).detach() * (seed + 1)
        for seed, (n, *size) in enumerate(shapes)
    ]
    seen = ranks(len(xs)).run(step, name, xs)
    layer = copy.deepcopy(make_layer(name))
    inputs, outputs = run_one_process(layer, name, xs)
    for i, (x, y) in enumerate(zip(inputs, outputs, strict=True)):
        expected = {'output': y.detach(), 'input gradient': x.grad}
        actual = {key: seen[i][key] for key in expected}
        assert_same(actual, expected, 1e-12)
        buffers = dict(layer.named_buffers())
        assert_same({k: seen[i][k] for k in buffers}, buffers, 1e-12)
    for key, parameter in layer.named_parameters():
        total = sum(s[f'{key} gradient'] for s in seen)
        torch.testing.assert_close(
            total, parameter.grad, rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize('name', SYNCHRONIZED)
def test_equals_one_process_with_three(ranks, name):
    shapes = [(1, 5, 4), (0, 2, 2), (2, 3, 6)]
    check_equals_one_process(ranks, name, shapes)


@pytest.mark.parametrize('name', SYNCHRONIZED)
def test_images_without_pixels_do_not_hang(ranks, name):
    xs = [make_input((2, CHANNELS, h, 4), h).detach() for h in (5, 0)]
    for rank, seen in enumerate(ranks(2).run(step, name, xs)):
        for key, value in seen.items():
            assert value.isfinite().all(), f'{key} of rank {rank}'


@pytest.mark.parametrize('name', SYNCHRONIZED)
def test_equals_one_process_in_float32(ranks, name):
    xs = [make_input((n, CHANNELS, 6, 5), n).detach() for n in (1, 2)]
    seen = ranks(2).run(step, name, xs, torch.float32)
    layer = make_layer(name)
    inputs, outputs = run_one_process(layer, name, xs)
    for i, (x, y) in enumerate(zip(inputs, outputs, strict=True)):
        for key, value in (('output', y.detach()), ('input gradient', x.grad)):
            error = (seen[i][key].double() - value).norm() / value.norm()
            assert error < 1e-5, (key, error)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('name', SYNCHRONIZED)
def test_half_precision_and_channels_last(ranks, name, dtype):
    xs = [make_input((n, CHANNELS, 6, 5), n).detach() for n in (1, 2)]
    seen = ranks(2).run(step, name, xs, dtype, True)
    _, outputs = run_one_process(make_layer(name), name, xs)
    for i, y in enumerate(outputs):
        output = seen[i]['output']
        assert output.dtype == dtype
        assert output.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(
            output.double(), y.detach(), rtol=2e-2, atol=5e-2
        )


def local_step(rank: int, options: dict) -> Tensor:
    x = torch.full((2, CHANNELS, 3, 3), float(rank))
    layer = LAYERS['BCN one momentum'][0](CHANNELS, **options)
    layer(x)
    return layer.bn.running_mean


@pytest.mark.parametrize('options', [dict(sync=False), dict(group_size=1)])
def test_without_sync_no_process_sees_another(ranks, options):
    first, second = ranks(2).run(local_step, options)
    assert (first == 0).all()
    torch.testing.assert_close(second, torch.full((CHANNELS,), 0.1))


def test_groups_of_processes(ranks):
    means = ranks(4).run(local_step, dict(group_size=2))
    for mean, expected in zip(means, (0.05, 0.05, 0.25, 0.25), strict=True):
        torch.testing.assert_close(mean, torch.full((CHANNELS,), expected))


def group_error(rank: int) -> str:
    with pytest.raises(ValueError, match='does not divide') as error:
        local_step(rank, dict(group_size=2))
    return str(error.value)


def test_group_size_that_does_not_divide(ranks):
    for message in ranks(3).run(group_error):
        expected = 'norm_cfg.group_size=2 does not divide the 3 processes'
        assert expected in message


def count_all_reduces(rank: int, name: str, mode: str) -> list[int]:
    layer, x = make_layer(name), make_input((2, CHANNELS, 4, 4))
    if mode == 'eval':
        layer.eval()
    if mode == 'frozen statistics':
        getattr(layer, 'bn', layer).eval()
    if mode == 'frozen parameters':
        layer.requires_grad_(False)
    if mode == 'frozen input':
        x = x.detach()
    with record_all_reduces() as sizes:
        loss = uneven_loss(layer(x))
        forward = len(sizes)
        loss.backward()
    assert all(size == 2 * CHANNELS + 2 for size in sizes)
    return [forward, len(sizes) - forward]


@pytest.mark.parametrize(
    ('name', 'training'),
    [
        ('SyncBN', [1, 1]),
        ('BCN batch', [1, 1]),
        ('BCN estimate', [1, 1]),
        ('BCN constant estimate', [1, 0]),
        ('BCN gradient of image', [1, 0]),
        ('BCN step', [0, 0]),
        ('BCN step gradient of image', [0, 0]),
        ('SN', [1, 1]),
        ('SSN', [1, 1]),
        ('SN without BN', [0, 0]),
        ('GN', [0, 0]),
        ('GW', [0, 0]),
        ('BN', [0, 0]),
        ('BKN predicted', [1, 1]),
        ('BRN', [1, 1]),
        ('FRN', [0, 0]),
        ('MABN', [0, 0]),
        ('EvoNormS0', [0, 0]),
        ('EvoNormB0', [1, 1]),
        ('MetaNorm', [1, 1]),
        ('MetaNorm fixed', [1, 1]),
        ('MetaNorm without BN', [0, 0]),
    ],
)
def test_number_of_all_reduces(ranks, name, training):
    pair = ranks(2)
    none, forward_only = [[0, 0]] * 2, [[training[0], 0]] * 2
    assert pair.run(count_all_reduces, name, 'train') == [training] * 2
    assert pair.run(count_all_reduces, name, 'eval') == none
    assert pair.run(count_all_reduces, name, 'frozen statistics') == none
    frozen = pair.run(count_all_reduces, name, 'frozen parameters')
    assert frozen == [training] * 2
    # No module before the layer needs a gradient, so the backward has no
    # all-reduce.
    frozen = pair.run(count_all_reduces, name, 'frozen input')
    assert frozen == forward_only


def nan_step(rank: int, name: str) -> dict[str, Tensor]:
    layer, x = make_layer(name), make_input((2, CHANNELS, 4, 4)).detach()
    if rank == 1:
        x[0, 3, 1, 1] = float('nan')
    before = copy.deepcopy(dict(layer.named_buffers()))
    layer(x)
    assert_same(dict(layer.named_buffers()), before)
    layer(x.nan_to_num())
    return dict(layer.named_buffers())


@pytest.mark.parametrize('name', SYNCHRONIZED)
def test_nan_on_one_process(ranks, name):
    first, second = ranks(2).run(nan_step, name)
    assert all(buffer.isfinite().all() for buffer in first.values())
    assert_same(first, second, 0)


class RefuseHostSync(TorchDispatchMode):
    """A mode that fails where an operator makes the host wait for a GPU."""

    WAITS = ('_local_scalar_dense', 'nonzero', 'masked_select', 'unique')

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.WAITS, name
        if name in ('index', 'index_put_'):
            masks = [t for t in args[1] if t is not None]
            assert all(mask.dtype != torch.bool for mask in masks), name
        return func(*args, **(kwargs or {}))


def step_without_waiting(rank: int, name: str) -> None:
    layer, x = make_layer(name), make_input((2, CHANNELS, 4, 4))
    with RefuseHostSync():
        for _ in range(2):
            checkpoint(
                lambda x: layer(x) + layer(2 * x), x, use_reentrant=False
            ).sum().backward()


@pytest.mark.parametrize('name', LAYERS)
def test_host_never_waits(ranks, name):
    ranks(2).run(step_without_waiting, name)


def build_network(name: str) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3),
        make_layer(name, 1),
        nn.ReLU(),
        nn.Conv2d(CHANNELS, CHANNELS, 1),
        make_layer(name, 2),
    ).double()


def train_checkpointed(
    rank: int, name: str, reentrant: bool | None
) -> tuple[dict, int]:
    """Train two steps, with inputs of several sizes in one checkpoint."""
    network = build_network(name)
    sizes = (5, 4, 4)
    with record_all_reduces() as collectives:
        for seed in range(2):
            xs = [
                make_input((1, 3, size, 7), 10 * rank + 3 * seed + i)
                for i, size in enumerate(sizes)
            ]

            def levels(*xs):
                return sum(uneven_loss(network(x)) for x in xs)

            if reentrant is None:
                loss = levels(*xs)
            else:
                loss = checkpoint(levels, *xs, use_reentrant=reentrant)
            loss.backward()
    seen = {f'gradient {i}': x.grad for i, x in enumerate(xs)}
    seen |= {k: p.grad for k, p in network.named_parameters()}
    return seen | statistics(network), len(collectives)


@pytest.mark.parametrize('reentrant', [True, False])
@pytest.mark.parametrize('name', [*SYNCHRONIZED, 'SN without BN', 'GN'])
def test_activation_checkpointing(ranks, name, reentrant):
    pair = ranks(2)
    plain = pair.run(train_checkpointed, name, None)
    checkpointed = pair.run(train_checkpointed, name, reentrant)
    for (expected, number), (actual, actual_number) in zip(
        plain, checkpointed, strict=True
    ):
        assert_same(actual, expected, 1e-12)
        assert actual_number == number


def train_in_ddp(rank: int, name: str, static_graph: bool) -> dict:
    model = DistributedDataParallel(
        build_network(name), static_graph=static_graph, broadcast_buffers=False
    )
    for seed in range(2):
        x = make_input((rank + 1, 3, 5, 6), 10 * rank + seed).detach()
        accumulate = seed == 0 and not static_graph
        with model.no_sync() if accumulate else nullcontext():
            uneven_loss(model(x)).backward()
    seen = {k: p.grad for k, p in model.module.named_parameters()}
    return seen | dict(model.module.named_buffers())


@pytest.mark.parametrize('static_graph', [True, False])
@pytest.mark.parametrize('name', ['SyncBN', 'BCN estimate', 'BCN batch', 'SN'])
def test_data_parallel_with_accumulation(ranks, name, static_graph):
    seen = ranks(2).run(train_in_ddp, name, static_graph)
    assert_same(seen[0], seen[1], 1e-12)
    network, forward = build_network(name), LAYERS[name][1]
    for seed in range(2):
        zs = [
            make_input((rank + 1, 3, 5, 6), 10 * rank + seed).detach()
            for rank in range(2)
        ]
        for module in network:
            if type(module).__module__.startswith('mmnorm'):
                zs = forward(module, zs)
            else:
                zs = [module(z) for z in zs]
        sum(uneven_loss(z) for z in zs).backward()
    # DDP computes the mean of the gradients of the processes.
    total = {k: p.grad / 2 for k, p in network.named_parameters()}
    assert_same(seen[0], total | dict(network.named_buffers()), 1e-11)


def train_compiled(rank: int, name: str, compiled: bool) -> dict:
    torch.compiler.reset()
    network, x = build_network(name), make_input((rank + 1, 3, 5, 6), rank)
    forward = network
    if compiled:
        forward = torch.compile(network, backend='aot_eager')
    uneven_loss(forward(x)).backward()
    seen = {k: p.grad for k, p in network.named_parameters()}
    return seen | statistics(network) | {'input': x.grad}


@pytest.mark.parametrize(
    'name',
    [
        'SyncBN',
        'BCN estimate',
        'BCN batch',
        'BCN step gradient of image',
        'SN',
    ],
)
def test_compiled(ranks, name):
    # The graph breaks at each all-reduce. Eager mode has the same results.
    pair = ranks(2)
    eager = pair.run(train_compiled, name, False)
    compiled = pair.run(train_compiled, name, True)
    for actual, expected in zip(compiled, eager, strict=True):
        assert_same(actual, expected, 1e-11)
