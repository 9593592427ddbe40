# Copyright (c) mmnorm contributors. All rights reserved.
"""Check that an input fits a layer, before a kernel reads memory by it."""

from torch import Tensor

from mmnorm.functional.torch_ops import is_traced


def check_input(
    x: Tensor, num_features: int, parameter: Tensor | None
) -> None:
    """Check the channels and the device of the input of a norm.

    The kernels take all sizes from the input. With other sizes they would
    read and write behind the parameters, where torch's operators raise an
    error.

    Args:
        x: Activations.
        num_features: Channels of the norm.
        parameter: One of its parameters, if it has any.

    Raises:
        ValueError: If the input has another number of channels, or is on
            another device.
    """
    if is_traced():  # plain operators run, and they check by themselves
        return
    if x.dim() < 2 or x.shape[1] != num_features:
        raise ValueError(
            f'expected an input of shape (N, {num_features}, *), because the '
            f'norm has {num_features} channels, got {tuple(x.shape)}'
        )
    if parameter is not None and x.device != parameter.device:
        raise ValueError(
            f'the input is on {x.device} and the norm on {parameter.device}: '
            'move one of them'
        )
