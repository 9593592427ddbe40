# Copyright (c) mmnorm contributors. All rights reserved.
"""The formats of checkpoints that can be converted."""

import re
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from .deeplab import from_bcn_ws_deeplab
from .resnet import (
    Result,
    State,
    from_bcn_ws,
    from_bcn_ws_root,
    from_bn,
    from_bn_to_gn,
    from_gn,
    from_sn,
)
from .weight_standardization import looks_standardized


class Format(NamedTuple):
    """A format of checkpoints, and how to convert it.

    Attributes:
        norm: The norm of the state dicts, as :func:`norm_in` names it.
        convert: The function that converts a state dict.
        description: One line for a list of the formats.
        config: The settings that a config needs for the converted weights.
        standardized: Whether the weights were trained with weight
            standardization.
        eps_inside_root: Whether the converted weights are for a weight
            standardization with the epsilon inside the root.
    """

    norm: str
    convert: Callable[[State], Result]
    description: str
    config: str
    standardized: bool = False
    eps_inside_root: bool = False


class Converted(NamedTuple):
    """A converted state dict, with a report on the conversion.

    Attributes:
        state_dict: The converted state dict.
        unused: Keys of the original that the conversion left out.
        notes: Sentences on changes of numbers.
        warnings: Sentences on weights that may not do what the user expects.
    """

    state_dict: State
    unused: list[str]
    notes: list[str]
    warnings: list[str]


WS = "conv_cfg=dict(type='mmnorm.ConvWS')"
WS_ROOT = "conv_cfg=dict(type='mmnorm.ConvWS', eps_inside_root=True)"
BN_UNDER_GN = (
    'these weights were trained with the statistics of BN, but GN uses the '
    'statistics of each image: fine-tune the model, and expect less than '
    'from weights that were trained with GN'
)
NOT_STANDARDIZED = (
    'the means of the filters show that they were trained without weight '
    'standardization, but this format is for models that use it'
)
FORMATS = {
    'bn': Format(
        'BN',
        from_bn,
        'BN of torchvision or OpenMMLab, in a backbone or in a whole model, '
        'for BCN, SN or SyncBN',
        "norm_cfg=dict(type='mmnorm.BCN'), 'mmnorm.SN' or 'mmnorm.SyncBN'",
    ),
    'bn-gn': Format(
        'BN',
        from_bn_to_gn,
        'the same for GN: weights and biases stay, statistics are dropped',
        "norm_cfg=dict(type='mmnorm.GN')",
    ),
    'bcn-ws': Format(
        'BCN',
        from_bcn_ws,
        "the BCN authors' ResNets and ResNeXt for ImageNet, with WS",
        f"norm_cfg=dict(type='mmnorm.BCN'), {WS}",
        standardized=True,
    ),
    'bcn-ws-root': Format(
        'BCN',
        from_bcn_ws_root,
        'the same, with every number as it is, for the form of WS that the '
        'authors used',
        f"norm_cfg=dict(type='mmnorm.BCN'), {WS_ROOT}",
        standardized=True,
        eps_inside_root=True,
    ),
    'bcn-ws-deeplab': Format(
        'BCN in DeepLab',
        from_bcn_ws_deeplab,
        "the BCN authors' DeepLabV3, with WS, for the DeepLabV3 of mmseg",
        f"norm_cfg=dict(type='mmnorm.BCN'), {WS} in backbone and "
        'decode_head; strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), '
        'contract_dilation=True in backbone; channels=256, '
        'dilations=(1, 6, 12, 18), num_classes=21, align_corners=True in '
        'decode_head',
        standardized=True,
    ),
    'sn': Format(
        'SN',
        from_sn,
        "the SN authors' ResNetV1SN",
        "norm_cfg=dict(type='mmnorm.SN', momentum=0.1), with use_bn=False "
        'for the file of (8, 1)',
    ),
    'gn': Format(
        'GN',
        from_gn,
        "Detectron's R-50-GN.pkl, or open-mmlab://detectron/resnet50_gn",
        "norm_cfg=dict(type='mmnorm.GN'), style='pytorch' in backbone; "
        'mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], '
        'bgr_to_rgb=False in data_preprocessor',
    ),
    'gn-ws': Format(
        'GN',
        from_gn,
        "the WS authors' GN+WS ResNets, or open-mmlab://jhu/resnet50_gn_ws",
        f"norm_cfg=dict(type='mmnorm.GN'), {WS}",
        standardized=True,
    ),
}


def convert(format_name: str, state: State) -> Converted:
    """Convert a state dict; the input stays as it is.

    Args:
        format_name: A key of :data:`FORMATS`.
        state: A state dict as :func:`state_of` returns it.

    Raises:
        ValueError: If the state dict does not have that format. The message
            is the predicate of a sentence about the file.

    Example::

        >>> import torch
        >>> from mmnorm.checkpoints import convert
        >>> names = 'weight', 'bias', 'running_mean', 'running_var'
        >>> state = {f'bn1.{name}': torch.ones(64) for name in names}
        >>> list(convert('bn-gn', state).state_dict)
        ['gn1.weight', 'gn1.bias']
    """
    chosen, norm = FORMATS[format_name], norm_in(state)
    if norm != chosen.norm:
        fitting = [name for name, each in FORMATS.items() if each.norm == norm]
        advice = f'use {" or ".join(fitting)}' if fitting else 'no format fits'
        raise ValueError(f'holds {norm}, not {chosen.norm}: {advice}')
    converted, unused, notes = chosen.convert(state)
    warnings = []
    if format_name == 'bn-gn':
        warnings.append(BN_UNDER_GN)
    filters = (w for w in converted.values() if w.dim() == 4)
    if chosen.standardized and not looks_standardized(filters):
        warnings.append(NOT_STANDARDIZED)
    return Converted(converted, unused, notes, warnings)


def state_of(checkpoint: dict) -> State:
    """Return the state dict of a checkpoint, without the prefix ``module.``.

    Raises:
        ValueError: If the checkpoint has no state dict. The message is the
            predicate of a sentence about the file.
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


def norm_in(state: State) -> str:
    """Name the norm of a state dict by its keys."""

    def any_key(pattern: str) -> bool:
        return any(re.search(pattern, key) for key in state)

    if any_key(r'\.pbn\.'):
        return 'BCN in DeepLab' if any_key(r'^aspp\.') else 'BCN'
    if any_key(r'\.mean_weight$'):
        return 'SN'
    if any(
        f'{key.removesuffix(".bn.running_mean")}.weight' in state
        for key in state
        if key.endswith('.bn.running_mean')
    ):
        return 'BCN of mmnorm'
    if any_key(r'\.running_mean$'):
        return 'BN'
    if any_key(r'(^|\.)(bn|gn)\d*\.weight$|_gn_s$'):
        return 'GN'
    return 'no known norm'
