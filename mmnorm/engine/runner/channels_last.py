# Copyright (c) mmnorm contributors. All rights reserved.
"""Run a model in the memory format channels_last (NHWC)."""

import torch
from torch import Tensor, nn


def use_channels_last(model: nn.Module) -> None:
    """Let every convolution of a model compute in channels_last.

    Norms, activations and pooling keep the format of their input. The results
    differ by rounding, and dropout drops other elements.
    """
    # The C++ code of mmcv ignores strides and reads its inputs as NCHW, so
    # RoIAlign and ModulatedDeformConv2d would return wrong numbers.
    ops = [module for module in model.modules() if _is_of_mmcv_ops(module)]
    for op in ops:
        op.register_forward_pre_hook(_make_contiguous, with_kwargs=True)
        op.register_forward_hook(_make_grad_contiguous)
    # An operator contains convolutions, for example for the offsets of a
    # deformable convolution.
    inside = {module for op in ops for module in op.modules()}
    for module in set(model.modules()) - inside:
        # Weights keep their strides, because the buckets of DDP, the state
        # of the optimizer and checkpoints depend on them: fused AdamW on CPU
        # reads wrong numbers from a state with other strides.
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_pre_hook(_make_channels_last)


def _is_of_mmcv_ops(module: nn.Module) -> bool:
    mro = type(module).__mro__
    return any(cls.__module__.startswith('mmcv.ops.') for cls in mro)


def _make_contiguous(
    module: nn.Module, args: tuple, kwargs: dict
) -> tuple[tuple, dict]:
    def contiguous(value: object) -> object:
        return value.contiguous() if isinstance(value, Tensor) else value

    args = tuple(contiguous(value) for value in args)
    return args, {key: contiguous(value) for key, value in kwargs.items()}


def _make_grad_contiguous(
    module: nn.Module, args: tuple, output: object
) -> None:
    # The backward of RoIPool and DeformRoIPool reads the gradient as NCHW.
    if isinstance(output, Tensor) and output.requires_grad:
        output.register_hook(Tensor.contiguous)


def _make_channels_last(module: nn.Module, args: tuple) -> tuple:
    def channels_last(value: object) -> object:
        if isinstance(value, Tensor) and value.dim() == 4:  # an image has 3
            return value.contiguous(memory_format=torch.channels_last)
        return value

    return tuple(channels_last(value) for value in args)
