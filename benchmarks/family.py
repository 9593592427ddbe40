# Copyright (c) mmnorm contributors. All rights reserved.
"""Time every norm of the family once, beside BatchNorm2d."""

from collections.abc import Iterator
from functools import partial

from torch import nn

from mmnorm import layers
from mmnorm.config.apply_norm import NORMS

from .layers import FEW, cases
from .tables import REFERENCE, cell, markdown, select

PEER = 'nn.BatchNorm2d'


def family_cases(device: str) -> Iterator[dict]:
    """Yield inputs of a few shapes, in float32."""
    for case in cases(device, amp=False):
        few = case['name'] in FEW and case['images'] == REFERENCE['images']
        if few and case['format'] == 'NCHW':
            yield case


def make_family(case: dict, device: str) -> dict[str, nn.Module]:
    channels = case['shape'][1]
    ours = {f'mmnorm.{name}': getattr(layers, name) for name in NORMS}
    # Its 64 groups do not divide the channels of every layer.
    ours['mmnorm.GW'] = partial(layers.GW, num_groups='auto')
    return {
        name: make(channels).to(device)
        for name, make in {PEER: nn.BatchNorm2d, **ours}.items()
    }


def family_table(rows: list[dict]) -> str:
    """Return a table of times at one shape, and of ratios at each shape."""
    _, *reference = select(rows, **REFERENCE)  # The first row is a copy.
    shape = 'x'.join(map(str, reference[0]['shape']))
    columns = {
        '': [row['layer'] for row in reference],
        f'step at {shape}, ms': [cell(row['step ms']) for row in reference],
    }
    for peer in select(rows, layer=PEER):
        same = {row['layer']: row for row in select(rows, name=peer['name'])}
        columns[f'over {PEER}, {peer["name"]}'] = [
            cell(same[name]['step ms'][1] / peer['step ms'][1])
            for name in columns['']
        ]
    return markdown(columns)
