# Copyright (c) mmnorm contributors. All rights reserved.
"""The models that load converted weights."""

import torch
from mmdet.models import ResNet, ResNeXt
from torch import Tensor, nn

from .synthetic import images

WS = dict(type='mmnorm.ConvWS')


def assert_near(actual: Tensor, expected: Tensor) -> None:
    """Compare to 1e-6 of the largest expected number."""
    scale = expected.abs().max().item()
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6 * scale)


def backbone(depth: int, norm: str, conv_cfg=None, **options) -> nn.Module:
    norm_cfg = dict(type=f'mmnorm.{norm}')
    build = ResNeXt if options else ResNet
    return build(depth=depth, norm_cfg=norm_cfg, conv_cfg=conv_cfg, **options)


def features(model: nn.Module) -> tuple[Tensor, ...]:
    model.double().eval()  # eval of mmdet's ResNet returns None
    return model(images())
