# Copyright (c) mmnorm contributors. All rights reserved.
"""State dicts of ResNets, from other projects' keys to those of OpenMMLab.

Each function ``from_...`` takes a state dict without prefix. It returns the
converted state dict, the keys it did not use, and sentences on the numbers
that it changed.
"""

import re

from torch import Tensor

from .weight_standardization import output_ratio, rescale_statistics

State = dict[str, Tensor]
Result = tuple[State, list[str], list[str]]
RUNNING = ('running_mean', 'running_var', 'num_batches_tracked')


def split(state: State, unused: str) -> tuple[State, list[str]]:
    """Return the entries to convert, and the keys of all other entries.

    Args:
        state: A state dict.
        unused: A regular expression that matches the keys to leave out.
    """
    out = [key for key in state if re.match(unused, key)]
    return {k: v for k, v in state.items() if k not in out}, out


def without_classifier(state: State) -> tuple[State, list[str]]:
    """Leave out the classifier of torchvision, Detectron or mmpretrain."""
    return split(state, r'(head\.)?fc\.|pred_')


def from_bn(state: State) -> Result:
    """Keep batch norms: BCN, SN and SyncBN load their entries as they are."""
    state, unused = without_classifier(state)
    return state, unused, []


def from_bn_to_gn(state: State) -> Result:
    """Turn batch norms into group norms with the same weights and biases."""
    state, unused = without_classifier(state)
    norms = {
        key.removesuffix('.running_mean')
        for key in state
        if key.endswith('.running_mean')
    }
    converted = {}
    for key, value in state.items():
        norm, _, name = key.rpartition('.')
        if norm in norms and name in RUNNING:
            unused.append(key)
        elif norm in norms:
            # mmcv names a norm after its type.
            norm = re.sub(r'(^|\.)bn(\d*)$', r'\1gn\2', norm)
            converted[f'{norm}.{name}'] = value
        else:
            converted[key] = value
    return converted, unused, []


def bcn_keys(state: State) -> State:
    """Rename the authors' ``pbn`` to ``bn``, and reshape (1, G, 1) to (G)."""
    converted = {}
    for key, value in state.items():
        module, _, name = key.rpartition('.')
        if module.endswith('.pbn'):
            converted[f'{module.removesuffix("pbn")}bn.{name}'] = value
        elif f'{module}.pbn.weight' in state:
            converted[key] = value.flatten()
        else:
            converted[key] = value
    return converted


def from_bcn_ws_root(state: State) -> Result:
    """Rename the keys of the authors' BCN with WS for ImageNet."""
    state, unused = without_classifier(state)
    return bcn_keys(state), unused, []


def from_bcn_ws(state: State) -> Result:
    """Convert the authors' BCN with WS for ImageNet, for plain ConvWS."""
    state, unused, _ = from_bcn_ws_root(state)
    end = '.bn.running_mean'
    norms = [key.removesuffix(end) for key in state if key.endswith(end)]
    if not norms:
        raise ValueError('has no running_mean of a BCN: it is incomplete')
    ratios = []
    for norm in norms:
        conv = re.sub(r'bn(\d+)$', r'conv\1', norm)
        conv = re.sub(r'downsample\.1$', 'downsample.0', conv)
        if f'{conv}.weight' not in state:
            raise ValueError(
                f'has {norm}, but no {conv}.weight before it: these are not '
                'the keys of a ResNet of the authors'
            )
        ratio = output_ratio(state[f'{conv}.weight'])
        state |= rescale_statistics(state, f'{norm}.bn', ratio)
        ratios += [ratio.min().item(), ratio.max().item()]
    note = (
        f'running statistics of {len(norms)} norms multiplied by '
        f'{min(ratios):.4g} to {max(ratios):.4g}, filter by filter, because '
        'the authors put the epsilon of WS inside the root and ConvWS puts it '
        'outside; outputs are the same'
    )
    return state, unused, [note]


def from_sn(state: State) -> Result:
    """Rename the authors' ``sn1`` to ``bn1``, and flatten every parameter."""
    if 'sn_out.weight' in state:
        raise ValueError(
            'is a ResNetV2SN, with norms before its convolutions, for which '
            'OpenMMLab has no model: take a file of ResNetV1SN'
        )
    state, unused = without_classifier(state)
    norms = {
        key.removesuffix('.mean_weight')
        for key in state
        if key.endswith('.mean_weight')
    }
    converted = {}
    for key, value in state.items():
        module, _, name = key.rpartition('.')
        if module in norms:
            module = re.sub(r'(^|\.)sn(\d+)$', r'\1bn\2', module)
            value = value.flatten()
        converted[f'{module}.{name}'] = value
    return converted, unused, []


def from_gn(state: State) -> Result:
    """Rename group norms of Detectron, the authors of WS, or OpenMMLab."""
    state, unused = without_classifier(state)
    converted = {}
    for key, value in state.items():
        new = _from_detectron(key) or re.sub(
            r'(^|\.)bn(\d+)\.', r'\1gn\2.', key
        )
        if '.' in new:
            converted[new] = value
        else:
            unused.append(key)
    notes = []
    if converted.keys() == state.keys():
        notes.append('the keys are those of OpenMMLab already')
    return converted, unused, notes


def _from_detectron(blob: str) -> str | None:
    """Return the key of a blob such as ``res2_0_branch2a_gn_s``."""
    found = re.fullmatch(
        r'(?:conv1|res(\d)_(\d+)_branch(1|2[abc]))_(w|gn_s|gn_b)', blob
    )
    if not found:
        return None
    stage, block, branch, name = found.groups()
    if stage is None:
        prefix, number = '', 1
    elif branch == '1':
        prefix, number = f'layer{int(stage) - 1}.{block}.downsample.', None
    else:
        prefix = f'layer{int(stage) - 1}.{block}.'
        number = ' abc'.index(branch[1])
    layer = 'conv' if name == 'w' else 'gn'
    module = str(int(name != 'w')) if number is None else f'{layer}{number}'
    return f'{prefix}{module}.{"bias" if name == "gn_b" else "weight"}'
