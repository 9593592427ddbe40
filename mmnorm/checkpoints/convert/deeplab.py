# Copyright (c) mmnorm contributors. All rights reserved.
"""The BCN authors' DeepLabV3, with the keys of mmseg.

The model is the ResNet of torchvision with dilation in its last stage, and an
``aspp`` that differs from ``ASPPHead`` of mmseg in the order of its branches
and in the size of its last convolution.
"""

import re

import torch.nn.functional as F

from .resnet import Result, State, bcn_keys, split
from .weight_standardization import EPS, rescale_statistics, unbiased_std

HEAD = {
    **{f'aspp.aspp{i + 1}': f'aspp_modules.{i}' for i in range(4)},
    'aspp.aspp5': 'image_pool.1',
    'aspp.conv2': 'bottleneck',
}

NOTES = [
    'decode_head.bottleneck: its 1 x 1 filters are in the middle of 3 x 3 '
    'filters, and its running statistics undo what that changes in WS; '
    'outputs are the same'
]


def from_bcn_ws_deeplab(state: State) -> Result:
    """Convert the authors' DeepLabV3 with BCN and WS."""
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
    """Put the 1 x 1 filters of the last convolution into 3 x 3 filters."""
    prefix = 'decode_head.bottleneck'
    if f'{prefix}.conv.weight' not in state:
        raise ValueError('has no aspp.conv2.weight: it is incomplete')
    weight = state[f'{prefix}.conv.weight']
    # The branch of the whole image is the first in mmseg, and the last here.
    filters = weight.roll(weight.shape[1] // 5, 1).double()
    # WS would subtract the mean from the zeros around the filter, too.
    filters = filters - filters.mean(1, keepdim=True)
    padded = F.pad(filters, (1, 1, 1, 1)).to(weight.dtype)
    ratio = (unbiased_std(weight) + EPS) / (unbiased_std(padded) + EPS)
    return {f'{prefix}.conv.weight': padded} | rescale_statistics(
        state, f'{prefix}.bn.bn', ratio
    )
