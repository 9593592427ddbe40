# Copyright (c) mmnorm contributors. All rights reserved.
"""State dicts of ResNets, from the keys of others to those of OpenMMLab.

Each function takes one without prefix and returns the converted one, the keys
it did not use, and sentences on what it did to numbers.
"""

import re

from torch import Tensor

from .weight_standardization import inside_over_outside, scale_input

State = dict[str, Tensor]
Result = tuple[State, list[str], list[str]]
RUNNING = ('running_mean', 'running_var', 'num_batches_tracked')


def split(state: State, unused: str) -> tuple[State, list[str]]:
    """What to convert, and the keys that match a regular expression."""
    out = [key for key in state if re.match(unused, key)]
    return {k: v for k, v in state.items() if k not in out}, out


def without_classifier(state: State) -> tuple[State, list[str]]:
    return split(state, r'fc\.|pred_')


def from_bn(state: State) -> Result:
    """Batch norms: BCN, SN and SyncBN load their entries as they are."""
    state, unused = without_classifier(state)
    return state, unused, []


def from_bn_to_gn(state: State) -> Result:
    """Batch norms as group norms: the gains stay, the statistics go."""
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
            # mmcv puts the kind of a norm into its name.
            norm = re.sub(r'(^|\.)bn(\d*)$', r'\1gn\2', norm)
            converted[f'{norm}.{name}'] = value
        else:
            converted[key] = value
    return converted, unused, []


def bcn_keys(state: State) -> State:
    """The authors' BCN: ``pbn`` is ``bn``, and (1, G, 1) is (G)."""
    converted = {}
    for key, value in state.items():
        module, _, name = key.rpartition('.')
        if module.endswith('.pbn'):
            converted[f'{module[:-3]}bn.{name}'] = value
        elif f'{module}.pbn.weight' in state:
            converted[key] = value.flatten()
        else:
            converted[key] = value
    return converted


def from_bcn_ws(state: State) -> Result:
    """The authors' BCN with WS, for ImageNet."""
    state, unused = without_classifier(state)
    state = bcn_keys(state)
    factors = []
    for norm in [k[:-16] for k in state if k.endswith('.bn.running_mean')]:
        conv = re.sub(r'bn(\d+)$', r'conv\1', norm)
        conv = re.sub(r'downsample\.1$', 'downsample.0', conv)
        if f'{conv}.weight' not in state:
            raise ValueError(
                f'has {norm}, but no {conv}.weight before it: these are not '
                'the keys of a ResNet of the authors'
            )
        factor = inside_over_outside(state[f'{conv}.weight'])
        state |= scale_input(state, f'{norm}.bn', factor)
        factors += [factor.min().item(), factor.max().item()]
    note = (
        f'running statistics of {len(factors) // 2} norms multiplied by '
        f'{min(factors):.4g} to {max(factors):.4g}, filter by filter, for WS '
        'with its epsilon outside the root; outputs are the same'
    )
    return state, unused, [note]


def from_sn(state: State) -> Result:
    """The authors' SN: ``sn1`` is ``bn1``, and everything has one axis."""
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
    """Group norms: of Detectron, of the authors of WS, or of OpenMMLab."""
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
    """The key of a blob such as res2_0_branch2a_gn_s."""
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
    kind = 'conv' if name == 'w' else 'gn'
    module = str(int(name != 'w')) if number is None else f'{kind}{number}'
    return f'{prefix}{module}.{"bias" if name == "gn_b" else "weight"}'
