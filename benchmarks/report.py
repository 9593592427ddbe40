# Copyright (c) mmnorm contributors. All rights reserved.
"""Write the results of benchmarks/norms.py as tables and plots."""

import csv
import json
from pathlib import Path

from .family import family_table
from .plots import draw_elements, draw_peers, draw_shares
from .tables import (
    float_table,
    half_table,
    host_table,
    network_table,
    ratio_table,
)

PARTS = ('layers', 'amp', 'sizes', 'steps', 'host', 'family')
LEGENDS = {
    'Float32': """\
Each time is the median of interleaved repeats, with the quartiles in brackets.
A share compares the bandwidth of the norm with that of a copy of the same
tensor into memory that is already allocated. The bandwidth of the norm counts
3 passes over the tensor in the forward and 5 in the backward. "Kept" is the
memory that lives from the forward to the backward, without input and output. A
slope is the slope of log time over log elements over all shapes, below and
above 8 Mi elements; 1 means that the time is linear in the elements. On CPU,
freed memory stays with the process, because the system may take longer to map
fresh memory than a norm to fill it. On a GPU the times are those of the GPU's
work only, with the launches queued behind another kernel; the time of the
launches has its own column.""",
    'Half precision with a ReLU': """\
The layers run under autocast with input in half precision. The ReLU is a
separate layer, in place; where the norm can compute the ReLU itself, a second
column shows this.""",
    'Ours over others': """\
Each number is the time of forward and backward divided by the time of the
peer, at the shape above. The brackets hold the smallest and the largest number
over all shapes and batch sizes.""",
    'In networks': """\
A stall is the time that the first call at a new size takes longer than the
fastest later call, over 20 sizes. The time of a training step is the median,
with the smallest and the largest time in brackets.""",
    'Host': """\
Microseconds of CPU time per layer, at 1 x 64 x 16 x 16, and what a training
step launches. Triton compiles the kernels and its launcher packs their
arguments as on a GPU; a driver that runs nothing takes the launches. torch's
layers are operators on CPU on the same tensor. Each number is a median, and
the ratios compare times of one round.""",
    'Every norm': """\
Each time is the median of interleaved repeats of forward and backward, with
the quartiles in brackets. FRN and EvoNorm contain their activation.""",
}


def write_csv(rows: list[dict], path: Path) -> None:
    """Write the medians of all rows; the JSON files have the quartiles."""
    heads = dict.fromkeys(key for row in rows for key in row)
    with path.open('w', newline='') as file:
        writer = csv.DictWriter(file, heads, lineterminator='\n')
        writer.writeheader()
        for row in rows:
            flat = {
                key: value[1] if isinstance(value, list) else value
                for key, value in row.items()
            }
            writer.writerow(flat | {'shape': 'x'.join(map(str, row['shape']))})


def report(folder: Path) -> str:
    """Write tables, CSV and plots of the parts that a folder has."""
    parts = {}
    for part in PARTS:
        if (folder / f'{part}.json').is_file():
            parts[part] = json.loads((folder / f'{part}.json').read_text())
    rows = {
        part: parts[part]['rows'] if part in parts else [] for part in PARTS
    }
    layers, half = rows['layers'], rows['amp']
    tables = dict.fromkeys(LEGENDS, '')
    if layers:
        tables['Float32'] = float_table(layers)
        draw_shares(layers, folder / 'shares.png')
        draw_elements(layers, folder / 'elements.png')
    if half:
        tables['Half precision with a ReLU'] = half_table(half)
    if layers or half:
        tables['Ours over others'] = ratio_table(layers + half)
        draw_peers(layers + half, folder / 'peers.png')
        write_csv(layers + half, folder / 'norms.csv')
    tables['In networks'] = network_table(rows['sizes'], rows['steps'])
    if rows['host']:
        tables['Host'] = host_table(rows['host'])
    if rows['family']:
        tables['Every norm'] = family_table(rows['family'])
    sections = [
        f'## {head}\n\n{LEGENDS[head]}\n\n{text}'
        for head, text in tables.items()
        if text
    ]
    measured = [
        f'- {part}: {result["repeats"]} repeats, '
        + ', '.join(f'{k} {v}' for k, v in result['machine'].items())
        for part, result in parts.items()
    ]
    text = '\n\n'.join(['\n'.join(measured), *sections])
    (folder / 'README.md').write_text(text + '\n')
    return text
