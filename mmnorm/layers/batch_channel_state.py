# Copyright (c) mmnorm contributors. All rights reserved.
"""Checkpoints of others, as a batch-channel norm loads them."""

import torch
from torch import Tensor, nn

PLAIN = ('weight', 'bias', 'running_mean', 'running_var')
PLAIN += ('num_batches_tracked',)


def to_batch_channel(
    layer: nn.Module, state_dict: dict[str, Tensor], prefix: str
) -> None:
    """Rename and reshape in place what belongs to a batch-channel norm.

    A plain batch norm becomes the batch part. Parameters of the authors'
    code, of shape :math:`(1, G, 1)`, become flat.

    Args:
        layer: The batch-channel norm.
        state_dict: The checkpoint.
        prefix: The name of the layer in the checkpoint, with a dot.
    """

    def move(old: str, new: str) -> None:
        for key in [k for k in state_dict if k.startswith(prefix + old)]:
            name = key[len(prefix + old) :]
            state_dict[prefix + new + name] = state_dict.pop(key)

    if prefix + 'running_mean' in state_dict:
        for name in PLAIN:
            move(name, f'bn.{name}')
        state_dict[prefix + 'weight'] = torch.ones_like(layer.weight)
        state_dict[prefix + 'bias'] = torch.zeros_like(layer.bias)
    move('pbn.', 'bn.')  # the authors' name of the batch part
    state_dict.pop(prefix + 'bn.estbn_moving_speed', None)
    for name, parameter in layer.named_parameters(recurse=False):
        value = state_dict.get(prefix + name)
        if value is not None and value.dim() == 3:
            value = value.flatten()
            repeats = parameter.numel() // value.numel()
            value = value.repeat_interleave(repeats)
            state_dict[prefix + name] = value
