# Copyright (c) mmnorm contributors. All rights reserved.
"""Compare a state dict with a model while loading what fits."""

import re
from typing import NamedTuple

from torch import nn

from .convert.resnet import State
from .convert.weight_standardization import looks_standardized

STANDARDIZING = ('ConvWS', 'ScaledConvWS', 'ConvWS2d', 'ConvAWS2d')


class Comparison(NamedTuple):
    """Keys of a model and of a state dict, as the layers see them.

    Attributes:
        matched: Keys of the model that were loaded.
        missing: Keys of the model that are not in the state dict.
        unexpected: Keys of the state dict that are not in the model.
        mismatched: Keys of the model whose shapes differ, with both shapes.
    """

    matched: list[str]
    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]


def load(model: nn.Module, state: State) -> Comparison:
    """Load what fits, and report the rest without an error.

    The layers translate the entries that they are given, for example those
    of a batch norm in BCN, so only the layers can say which keys they lack.
    """
    state = dict(state)
    missing: list[str] = []
    unexpected: list[str] = []
    errors: list[str] = []

    # load_state_dict raises where a shape differs, and does not say the rest.
    def load_module(module: nn.Module, prefix: str) -> None:
        module._load_from_state_dict(
            state, prefix, {}, True, missing, unexpected, errors
        )
        for name, child in module.named_children():
            load_module(child, f'{prefix}{name}.')

    load_module(model, '')
    shapes = {}
    for error in errors:
        found = re.search(
            r'mismatch for (\S+): .*?(\[.*?\]).*?(\[.*?\])', error
        )
        if found is None:
            raise RuntimeError(error)
        shapes[found[1]] = f'{found[1]} {found[2]}, model {found[3]}'
    # torch sets num_batches_tracked itself where a file has none.
    count, mean = 'num_batches_tracked', 'running_mean'
    keys = [key for key in model.state_dict() if key.endswith(count)]
    missing += [k for k in keys if k.replace(count, mean) in missing]
    not_loaded = {*missing, *shapes}
    matched = [key for key in model.state_dict() if key not in not_loaded]
    return Comparison(matched, missing, unexpected, list(shapes.values()))


def standardization_warnings(
    model: nn.Module,
    matched: list[str],
    standardized: bool,
    eps_inside_root: bool = False,
) -> list[str]:
    """Warn of filters that the model uses otherwise than they were trained.

    Args:
        model: A model with the loaded filters.
        matched: Keys that were loaded.
        standardized: Whether they were trained with weight standardization.
        eps_inside_root: Whether they are for the form of it that has the
            epsilon inside the root.
    """
    loaded = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and f'{name}.weight' in matched
    }
    standardizing = {
        name: module
        for name, module in loaded.items()
        if type(module).__name__ in STANDARDIZING
    }
    warnings = []
    filters = (conv.weight.data for conv in standardizing.values())
    if not standardized and not looks_standardized(filters):
        warnings.append(
            f'{len(standardizing)} convolutions of the model standardize '
            'weights that were trained without weight standardization, as '
            'the means of the filters show'
        )
    others = [
        name
        for name, conv in standardizing.items()
        if _form(conv) != (True, eps_inside_root)
    ]
    if standardized and others:
        option = f', eps_inside_root={eps_inside_root}'
        warnings.append(
            f'{len(others)} convolutions of the model, the first of them '
            f'{others[0]}, standardize weights by another formula than that '
            'of the file: set conv_cfg=dict('
            f"type='mmnorm.ConvWS'{option if eps_inside_root else ''})"
        )
    # A convolution with a bias, as the classifier of DeepLab, has no norm
    # behind it.
    plain = [
        name
        for name, conv in loaded.items()
        if name not in standardizing and conv.bias is None
    ]
    if standardized and plain:
        warnings.append(
            f'{len(plain)} convolutions of the model, the first of them '
            f'{plain[0]}, do not standardize weights that were trained with '
            "weight standardization: set conv_cfg=dict(type='mmnorm.ConvWS')"
        )
    return warnings


def _form(conv: nn.Module) -> tuple[bool | None, bool | None]:
    """Return whether the variance is unbiased, and eps inside the root."""
    if type(conv).__name__ == 'ConvWS2d':  # mmcv has one form
        return True, False
    # ConvAWS2d of mmcv keeps the filters of a plain checkpoint as they are.
    names = 'unbiased', 'eps_inside_root'
    unbiased, eps_inside_root = (getattr(conv, n, None) for n in names)
    return unbiased, eps_inside_root
