# Copyright (c) mmnorm contributors. All rights reserved.
"""The residual networks for images of 32 x 32 pixels."""

from mmpretrain.models import ResNet_CIFAR
from mmpretrain.models.backbones.resnet import BasicBlock
from mmpretrain.registry import MODELS


@MODELS.register_module()
class CifarResNet(ResNet_CIFAR):
    """A ResNet of three stages with equal numbers of blocks.

    Paper: `Deep Residual Learning for Image Recognition
    <https://arxiv.org/abs/1512.03385>`_, section 4.2.

    The ``ResNet_CIFAR`` of mmpretrain has the stages of ImageNet networks.
    This network has ``(depth - 2) / 6`` blocks of two convolutions per stage,
    with 16, 32 and 64 channels.

    Difference from the paper: where a stage changes the number of channels,
    the shortcut is a convolution and a norm, as in the fork of
    pytorch-classification by the authors of weight standardization. The paper
    pads the channels with zeros.

    Args:
        depth: Number of layers: 20, 32, 44, 56 or 110.
        **kwargs: Other arguments of ``ResNet_CIFAR``, such as ``norm_cfg``.

    Shape:
        - Input: (N, 3, 32, 32)
        - Output: a tuple with one map, (N, 64, 8, 8)

    Example:
        >>> import torch
        >>> from mmnorm.backbones.cifar_resnet import CifarResNet
        >>> (maps,) = CifarResNet(20)(torch.randn(2, 3, 32, 32))
        >>> maps.shape
        torch.Size([2, 64, 8, 8])
    """

    arch_settings = {
        depth: (BasicBlock, ((depth - 2) // 6,) * 3)
        for depth in (20, 32, 44, 56, 110)
    }

    def __init__(self, depth: int, **kwargs) -> None:
        super().__init__(
            depth,
            stem_channels=16,
            base_channels=16,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(2,),
            **kwargs,
        )
