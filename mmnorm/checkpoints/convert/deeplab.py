# Copyright (c) mmnorm contributors. All rights reserved.
"""The DeepLabV3 of the authors of BCN, as mmseg's.

It is the ResNet of torchvision with dilation in its last stage, and an
``aspp`` that differs from mmseg's ``ASPPHead`` in the order of its branches
and in the size of the last convolution.
"""

import re

import torch.nn.functional as F

from .resnet import Result, State, bcn_keys, split
from .weight_standardization import EPS, scale_input, unbiased_std

HEAD = {
    **{f'aspp.aspp{i + 1}': f'aspp_modules.{i}' for i in range(4)},
    'aspp.aspp5': 'image_pool.1',
    'aspp.conv2': 'bottleneck',
}

NOTES = [
    'decode_head.bottleneck: its 1 x 1 filters stand in the middle of 3 x 3, '
    'and running statistics take back what that changes in WS; outputs are '
    'the same'
]


def from_bcn_ws_deeplab(state: State) -> Result:
    """The authors' DeepLabV3 with BCN and WS."""
    known = r'conv1\.weight|bn1\.|layer[1-4]\.|aspp\.(aspp|conv[23]|bn2)'
    state, unused = split(bcn_keys(state), f'(?!{known})')
    converted = {}
    for key, value in state.items():
        module, _, name = key.rpartition('.')
        if not key.startswith('aspp.'):
            converted[f'backbone.{key}'] = value
        elif module == 'aspp.conv3':
            converted[f'decode_head.conv_seg.{name}'] = value
        elif module in HEAD:
            converted[f'decode_head.{HEAD[module]}.conv.{name}'] = value
        else:
            norm = re.match(r'aspp\.\w+', key)[0]
            conv = norm.replace('bn2', 'conv2').removesuffix('_bn')
            new = f'decode_head.{HEAD[conv]}.bn'
            converted[key.replace(norm, new, 1)] = value
    return converted | _bottleneck(converted), unused, NOTES


def _bottleneck(state: State) -> State:
    """The last convolution of the authors, 1 x 1, in one of 3 x 3."""
    prefix = 'decode_head.bottleneck'
    if f'{prefix}.conv.weight' not in state:
        raise ValueError('has no aspp.conv2.weight: it is not whole')
    theirs = state[f'{prefix}.conv.weight']
    # mmseg has the branch of the whole image first, the authors last.
    filters = theirs.roll(theirs.shape[1] // 5, 1).double()
    # Standardized, the mean would spread over the zeros around.
    filters = filters - filters.mean(1, keepdim=True)
    ours = F.pad(filters, (1, 1, 1, 1)).to(theirs.dtype)
    factor = (unbiased_std(theirs) + EPS) / (unbiased_std(ours) + EPS)
    return {f'{prefix}.conv.weight': ours} | scale_input(
        state, f'{prefix}.bn.bn', factor
    )
