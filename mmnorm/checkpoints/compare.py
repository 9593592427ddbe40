# Copyright (c) mmnorm contributors. All rights reserved.
"""What of a state dict goes into a model, and what does not belong there."""

import re
from typing import NamedTuple

from torch import nn

from .convert.resnet import State
from .convert.weight_standardization import looks_standardized


class Comparison(NamedTuple):
    """Keys of a model and of a state dict, as the layers see them.

    Attributes:
        matched: Keys of the model that were loaded.
        missing: Keys of the model that the state dict has nothing for.
        unexpected: Keys of the state dict that the model does not have.
        mismatched: Keys of the model with both shapes, where they differ.
    """

    matched: list[str]
    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]


def load(model: nn.Module, state: State) -> Comparison:
    """Load what fits; nothing that does not is an error.

    The layers translate what they are given, such as the entries of a batch
    norm in BCN, so only they can say what they lack.
    """
    state = dict(state)
    missing: list[str] = []
    unexpected: list[str] = []
    errors: list[str] = []

    # torch's own, at a shape that differs, raises and does not say the rest.
    def fill(module: nn.Module, prefix: str) -> None:
        module._load_from_state_dict(
            state, prefix, {}, True, missing, unexpected, errors
        )
        for name, child in module.named_children():
            fill(child, f'{prefix}{name}.')

    fill(model, '')
    shapes = {}
    for error in errors:
        found = re.search(
            r'mismatch for (\S+): .*?(\[.*?\]).*?(\[.*?\])', error
        )
        if found is None:
            raise RuntimeError(error)
        shapes[found[1]] = f'{found[1]} {found[2]}, model {found[3]}'
    # torch fills in the count of batches where a file has none.
    count, mean = 'num_batches_tracked', 'running_mean'
    keys = [key for key in model.state_dict() if key.endswith(count)]
    missing += [k for k in keys if k.replace(count, mean) in missing]
    left = {*missing, *shapes}
    matched = [key for key in model.state_dict() if key not in left]
    return Comparison(matched, missing, unexpected, list(shapes.values()))


def standardization_warnings(
    model: nn.Module, matched: list[str], standardized: bool
) -> list[str]:
    """Say where filters were trained otherwise than the model uses them.

    Args:
        model: With the filters in it.
        matched: Keys that were loaded.
        standardized: Whether they were trained with weight standardization.
    """
    loaded = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and f'{name}.weight' in matched
    }
    under = {
        name: module
        for name, module in loaded.items()
        if type(module).__name__ in ('ConvWS', 'ConvWS2d', 'ConvAWS2d')
    }
    warnings = []
    filters = (conv.weight.data for conv in under.values())
    if not standardized and not looks_standardized(filters):
        warnings.append(
            f'{len(under)} convolutions of the model standardize weights that '
            'were not trained so, as the means of the filters show'
        )
    # One with a bias, as the classifier of DeepLab, has no norm behind it.
    plain = [
        name
        for name, conv in loaded.items()
        if name not in under and conv.bias is None
    ]
    if standardized and plain:
        warnings.append(
            f'{len(plain)} convolutions of the model, the first of them '
            f'{plain[0]}, do not standardize weights that were trained so: '
            "set conv_cfg=dict(type='mmnorm.ConvWS')"
        )
    return warnings
