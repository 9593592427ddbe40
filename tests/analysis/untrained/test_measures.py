# Copyright (c) mmnorm contributors. All rights reserved.
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmnorm.analysis.untrained import measures
from mmnorm.analysis.untrained.networks import make_network
from mmnorm.analysis.untrained.variants import parse_variant


def maps(seed: int = 0, num_images: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((num_images, 4, 3, 6), generator=generator)
    return x.double() * 2 + 0.7


def flat(image: torch.Tensor) -> list[float]:
    return image.flatten().tolist()


def channel_variances(x: torch.Tensor) -> list[float]:
    found = []
    for c in range(x.shape[1]):
        values = flat(x[:, c])
        mean = sum(values) / len(values)
        squares = sum((value - mean) ** 2 for value in values)
        found.append(squares / (len(values) - 1))
    return found


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    product = sum(u * v for u, v in zip(flat(a), flat(b), strict=True))
    norms = [math.sqrt(sum(u * u for u in flat(image))) for image in (a, b)]
    return product / (norms[0] * norms[1])


def test_variance_and_deviation():
    x = maps()
    variances = channel_variances(x)
    expected = sum(variances) / len(variances)
    assert measures.variance(x) == pytest.approx(expected)
    expected = sum(v**0.5 for v in variances) / len(variances)
    assert measures.deviation(x) == pytest.approx(expected)


def test_similarity():
    x = maps()
    pairs = [(n, m) for n in range(len(x)) for m in range(len(x)) if n != m]
    expected = sum(cosine(x[n], x[m]) for n, m in pairs) / len(pairs)
    assert measures.similarity(x) == pytest.approx(expected)


def test_similarity_of_independent_images():
    x = torch.randn(20, 100, 10, 10)
    assert measures.similarity(x) == pytest.approx(0, abs=0.01)
    assert measures.similarity(x.relu()) == pytest.approx(1 / math.pi, rel=0.1)


def test_stable_rank():
    x = maps()
    kernel = torch.tensor([[cosine(a, b) for b in x] for a in x]).double()
    # The power method finds the largest eigenvalue of the kernel.
    vector = torch.ones(len(x)).double()
    for _ in range(2000):
        vector = kernel @ vector
        vector /= vector.norm()
    expected = len(x) / (vector @ kernel @ vector).item()
    assert measures.stable_rank(x) == pytest.approx(expected, rel=1e-6)


def test_stable_rank_of_equal_images_is_one():
    equal = maps()[:1].expand(6, -1, -1, -1)
    assert measures.stable_rank(equal) == pytest.approx(1)


def test_dead_channels():
    x = torch.full((2, 4, 40, 40), -1.0)
    x[:, 0] = 1
    x[0, 1, 0, 0] = 1  # one value of 3200
    x[0, 2, 0, :4] = 1
    assert measures.dead_share(x) == 2 / 4


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_numbers_that_are_not_finite(value):
    x = maps()
    x[0, 0, 0, 0] = value
    for measure in (
        measures.variance,
        measures.similarity,
        measures.stable_rank,
        measures.dead_share,
    ):
        assert math.isnan(measure(x))


def test_gradient_norm_is_that_of_the_loss_of_each_image():
    torch.manual_seed(0)
    network = make_network('vgg10', parse_variant('GN')).double()
    head = nn.Linear(512, 10).double()
    x, labels = torch.rand(3, 3, 32, 32).double(), torch.tensor([1, 5, 8])
    outputs = []
    conv = network[0]
    conv.register_forward_hook(lambda *args: outputs.append(args[2]))

    def gradient(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        outputs.clear()
        logits = head(network(images).mean((2, 3)))
        loss = F.cross_entropy(logits, labels)
        return torch.autograd.grad(loss, outputs[0])[0]

    squares = [
        sum(g * g for g in flat(gradient(x[n : n + 1], labels[n : n + 1])))
        for n in range(3)
    ]
    expected = math.sqrt(sum(squares) / 3)
    norm = measures.gradient_norm(gradient(x, labels))
    assert norm == pytest.approx(expected)


def test_gradient_norm_does_not_depend_on_the_size_of_the_batch():
    gradient = maps()
    twice = torch.cat([gradient, gradient]) / 2
    norm = measures.gradient_norm(gradient)
    assert measures.gradient_norm(twice) == pytest.approx(norm)
