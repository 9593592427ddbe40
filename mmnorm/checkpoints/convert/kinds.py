# Copyright (c) mmnorm contributors. All rights reserved.
"""The kinds of checkpoints that can be converted."""

import re
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from .deeplab import from_bcn_ws_deeplab
from .resnet import (
    Result,
    State,
    from_bcn_ws,
    from_bn,
    from_bn_to_gn,
    from_gn,
    from_sn,
)
from .weight_standardization import looks_standardized


class Kind(NamedTuple):
    """From what to what, and how.

    Attributes:
        layout: What :func:`layout_of` calls its state dicts.
        change: The conversion.
        about: One line for a list.
        config: What a config has to say for it.
        standardized: Whether it was trained with weight standardization.
    """

    layout: str
    change: Callable[[State], Result]
    about: str
    config: str
    standardized: bool = False


class Converted(NamedTuple):
    """A converted state dict and what there is to say of it."""

    state_dict: State
    unused: list[str]
    notes: list[str]
    warnings: list[str]


WS = "conv_cfg=dict(type='mmnorm.ConvWS')"
BN_UNDER_GN = (
    'these weights were trained with the statistics of BN, and GN normalizes '
    'with others: train on, and expect less than of weights trained with GN'
)
NOT_STANDARDIZED = (
    'the means of the filters are not those of training with weight '
    'standardization, for which they are to be used'
)
KINDS = {
    'bn': Kind(
        'BN',
        from_bn,
        "torchvision's or OpenMMLab's BN, alone or in a whole model, for "
        'BCN, SN or SyncBN',
        "norm_cfg=dict(type='mmnorm.BCN'), 'mmnorm.SN' or 'mmnorm.SyncBN'",
    ),
    'bn-gn': Kind(
        'BN',
        from_bn_to_gn,
        'the same for GN: gains are kept, statistics dropped',
        "norm_cfg=dict(type='mmnorm.GN')",
    ),
    'bcn-ws': Kind(
        'BCN',
        from_bcn_ws,
        "the BCN authors' ResNets and ResNeXt for ImageNet, with WS",
        f"norm_cfg=dict(type='mmnorm.BCN'), {WS}",
        standardized=True,
    ),
    'bcn-ws-deeplab': Kind(
        'BCN in DeepLab',
        from_bcn_ws_deeplab,
        "the BCN authors' DeepLabV3, with WS, for mmseg's",
        f"norm_cfg=dict(type='mmnorm.BCN'), {WS} in backbone and "
        'decode_head; strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), '
        'contract_dilation=True in backbone; channels=256, '
        'dilations=(1, 6, 12, 18), num_classes=21, align_corners=True in '
        'decode_head',
        standardized=True,
    ),
    'sn': Kind(
        'SN',
        from_sn,
        "the SN authors' ResNetV1SN",
        "norm_cfg=dict(type='mmnorm.SN', momentum=0.1), with use_bn=False "
        'for the file of (8, 1)',
    ),
    'gn': Kind(
        'GN',
        from_gn,
        "Detectron's R-50-GN.pkl, or open-mmlab://detectron/resnet50_gn",
        "norm_cfg=dict(type='mmnorm.GN'), style='pytorch' in backbone; "
        'mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], '
        'bgr_to_rgb=False in data_preprocessor',
    ),
    'gn-ws': Kind(
        'GN',
        from_gn,
        "the WS authors' GN+WS ResNets, or open-mmlab://jhu/resnet50_gn_ws",
        f"norm_cfg=dict(type='mmnorm.GN'), {WS}",
        standardized=True,
    ),
}


def convert(kind: str, state: State) -> Converted:
    """Convert a state dict; the input stays as it is.

    Args:
        kind: One of :data:`KINDS`.
        state: As :func:`state_of` returns it.

    Raises:
        ValueError: If the state dict is not of that kind; in one sentence,
            which has to follow the name of the file.

    Example::

        >>> import torch
        >>> from mmnorm.checkpoints import convert
        >>> names = 'weight', 'bias', 'running_mean', 'running_var'
        >>> state = {f'bn1.{name}': torch.ones(64) for name in names}
        >>> list(convert('bn-gn', state).state_dict)
        ['gn1.weight', 'gn1.bias']
    """
    chosen, layout = KINDS[kind], layout_of(state)
    if layout != chosen.layout:
        fitting = [k for k, v in KINDS.items() if v.layout == layout]
        use = (
            f'use {" or ".join(fitting)}' if fitting else 'nothing to convert'
        )
        raise ValueError(f'holds {layout}, not {chosen.layout}: {use}')
    converted, unused, notes = chosen.change(state)
    warnings = []
    if kind == 'bn-gn':
        warnings.append(BN_UNDER_GN)
    filters = (w for w in converted.values() if w.dim() == 4)
    if chosen.standardized and not looks_standardized(filters):
        warnings.append(NOT_STANDARDIZED)
    return Converted(converted, unused, notes, warnings)


def state_of(checkpoint: dict) -> State:
    """The state dict in a checkpoint, without the prefix ``module.``.

    Raises:
        ValueError: If there is none; in one sentence, which has to follow
            the name of the file.
    """
    for key in ('state_dict', 'model'):
        if isinstance(checkpoint.get(key), dict):
            checkpoint = checkpoint[key]
            break
    for key, value in checkpoint.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f'holds no state_dict: {key!r} in it is a '
                f'{type(value).__name__}'
            )
    return {k.removeprefix('module.'): v for k, v in checkpoint.items()}


def layout_of(state: State) -> str:
    """What norms a state dict has, by its keys."""

    def any_key(pattern: str) -> bool:
        return any(re.search(pattern, key) for key in state)

    if any_key(r'\.pbn\.'):
        return 'BCN in DeepLab' if any_key(r'^aspp\.') else 'BCN'
    if any_key(r'\.mean_weight$'):
        return 'SN'
    own = (k for k in state if k.endswith('.bn.running_mean'))
    if any(f'{k[:-16]}.weight' in state for k in own):
        return 'BCN of mmnorm'
    if any_key(r'\.running_mean$'):
        return 'BN'
    if any_key(r'(^|\.)(bn|gn)\d*\.weight$|_gn_s$'):
        return 'GN'
    return 'no norm that is known'
