# Copyright (c) mmnorm contributors. All rights reserved.
"""Write what benchmarks/norms.py measured as tables and plots."""

import csv
import json
from pathlib import Path

from .plots import draw_elements, draw_peers, draw_shares
from .tables import (
    float_table,
    half_table,
    network_table,
    ratio_table,
)

PARTS = ('layers', 'amp', 'sizes', 'steps')
LEGENDS = {
    'Float32': """\
The median of interleaved repeats, with its quartiles. A share is that of the
bandwidth of a copy on the same tensor into memory that is there, counting what
a norm has to move: 3 passes forward, 5 backward. Kept is what lives from
forward to backward besides input and output. A slope is that of log time over
log elements over all shapes, below and above 8 Mi elements; 1 is a cost linear
in elements. Timed on a GPU is its own work, with the launches queued behind
another kernel; what launching takes stands apart.""",
    'Half precision with a ReLU': """\
Under autocast, input in half precision: the ReLU as a layer of its own, in
place, and inside the norm where it can be.""",
    'Ours over others': """\
Time of forward and backward over that of the peer at the shape above, and in
brackets the least and the largest of all shapes and batch sizes.""",
    'In networks': """\
What the first call at each of 20 new sizes costs over the second, and training
steps, the median with the least and the largest.""",
}


def write_csv(rows: list[dict], path: Path) -> None:
    """Medians of everything; the quartiles are in the JSON files."""
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
    """Write table, CSV and plots of the parts that a folder has."""
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
    sections = [
        f'## {head}\n\n{LEGENDS[head]}\n\n{text}'
        for head, text in tables.items()
        if text
    ]
    measured = [
        f'- {part}: {of["repeats"]} repeats, '
        + ', '.join(f'{k} {v}' for k, v in of['machine'].items())
        for part, of in parts.items()
    ]
    text = '\n\n'.join(['\n'.join(measured), *sections])
    (folder / 'README.md').write_text(text + '\n')
    return text
