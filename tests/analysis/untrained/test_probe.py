# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmnorm.analysis.untrained import make_network, measure, parse_variant
from mmnorm.analysis.untrained.measures import gradient_norm, similarity
from mmnorm.analysis.untrained.probe import fixed_labels


def batch(size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn((4, 3, size, size), generator=generator)
    return x, fixed_labels(4, 0)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 6, 3)
    )


def values(rows: list, measure: str) -> dict[str, float]:
    return {row.name: row.value for row in rows if row.measure == measure}


def test_measures_are_those_of_the_layers():
    net, (x, labels) = network(), batch()
    torch.manual_seed(1)
    rows = measure(net, x, labels)
    torch.manual_seed(1)
    classifier = nn.Linear(6, 100)
    first = net[0](x)
    first.retain_grad()
    second = net[2](first.relu())
    second.retain_grad()
    F.cross_entropy(classifier(second.mean((2, 3))), labels).backward()
    assert values(rows, 'similarity') == pytest.approx(
        {'input': similarity(x), '1': similarity(first.relu())}
    )
    # The gradient is that before the activation in place.
    assert values(rows, 'gradient norm') == pytest.approx(
        {'0': gradient_norm(first.grad), '2': gradient_norm(second.grad)}
    )


def test_hooks_are_removed():
    net, (x, labels) = network(), batch()
    measure(net, x, labels)
    assert not any(module._forward_hooks for module in net.modules())
    with pytest.raises(RuntimeError):
        measure(net, x[:, :2], labels)
    assert not any(module._forward_hooks for module in net.modules())


def test_layers_are_numbered_in_the_order_of_calls():
    net = make_network('resnet20', parse_variant('GN'))
    rows = measure(net, *batch(16))
    convs = [r for r in rows if r.measure == 'gradient norm']
    assert [r.layer for r in convs] == list(range(1, 20))
    names = [r.name for r in convs]
    assert names[:3] == ['0', '3.conv1', '3.conv2']
    assert not any('shortcut' in name for name in names)
    activations = [r for r in rows if r.measure == 'stable rank']
    assert [r.layer for r in activations] == list(range(20))
    assert [r.channels for r in activations][-1] == 128


def test_a_shared_activation_counts_at_each_call():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(3, 3, 1), nn.ReLU()

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [x, self.relu(self.conv(self.relu(self.conv(x))))]

    rows = measure(Twice(), *batch())
    assert list(values(rows, 'similarity')) == ['input', 'relu', 'relu#2']
    assert list(values(rows, 'gradient norm')) == ['conv', 'conv#2']


def test_norms_that_are_activations_count_as_such():
    net = make_network('vgg10', parse_variant('EvoNormS0'))
    rows = measure(net, *batch(32))
    assert len(values(rows, 'similarity')) == 11


def test_a_network_without_activations():
    with pytest.raises(ValueError, match='no activation'):
        measure(nn.Sequential(nn.Conv2d(3, 3, 1)), *batch())
