# Copyright (c) mmnorm contributors. All rights reserved.
"""The order of the Kalman norms in a ResNet."""

from collections.abc import Iterable, Iterator
from itertools import takewhile

from torch import nn

from .batch_kalman_norm import BKN, Prior

Pair = tuple[nn.Conv2d, BKN]


def connect_kalman(model: nn.Module) -> int:
    """Tell each :class:`mmnorm.BKN` in a ResNet which layers are before it.

    Args:
        model: A model with ResNets of mmdet, mmseg, mmpretrain or
            torchvision; changed in place.

    Returns:
        The number of norms that now have a prediction.

    Example::

        >>> from torchvision.models import resnet18
        >>> connect_kalman(resnet18(norm_layer=BKN))
        19
    """
    priors = {}
    for module in model.modules():
        if hasattr(module, 'layer1') and hasattr(module, 'layer2'):
            priors |= _priors(module)
    for norm, prior in priors.items():
        norm.prior = prior
    return len(priors)


def _priors(resnet: nn.Module) -> dict[BKN, Prior]:
    priors, terms = {}, ()

    def add(conv: nn.Conv2d, norm: BKN, terms: tuple) -> None:
        if terms:
            priors[norm] = Prior(conv, terms)

    for conv, norm in _pairs(getattr(resnet, 'stem', resnet).children()):
        add(conv, norm, terms)
        terms = ((norm, 'output'),)
    for block in _blocks(resnet):
        pairs, entering = _pairs(block.children()), terms
        for conv, norm in pairs:
            add(conv, norm, terms)
            terms = ((norm, 'output'),)
        if block.downsample is None:
            known = pairs[:1] if entering else []
            identity = [(norm, 'entering') for _, norm in known]
        else:
            shortcut = _pairs(block.downsample.children())
            for conv, norm in shortcut:
                add(conv, norm, entering)
            identity = [(norm, 'output') for _, norm in shortcut]
        # Without one of the two summands, the sum is not known.
        terms = (*terms, *identity) if pairs and identity else ()
    return priors


def _blocks(resnet: nn.Module) -> Iterator[nn.Module]:
    index = 1
    while (stage := getattr(resnet, f'layer{index}', None)) is not None:
        yield from stage
        index += 1


def _pairs(children: Iterable[nn.Module]) -> list[Pair]:
    """Return convolutions with their norms, or none if one is of no use."""
    # Behind them come the stages of a network, or the shortcut of a block.
    own = takewhile(lambda m: not isinstance(m, nn.Sequential), children)
    weighted = [m for m in own if getattr(m, 'weight', None) is not None]
    convs, norms = weighted[::2], weighted[1::2]
    if (
        len(convs) == len(norms)
        and all(type(conv) is nn.Conv2d for conv in convs)
        and all(isinstance(norm, BKN) for norm in norms)
    ):
        return list(zip(convs, norms, strict=True))
    return []
