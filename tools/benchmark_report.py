# Copyright (c) mmnorm contributors. All rights reserved.
"""Write what tools/benchmark_norms.py measured: JSON, CSV, table and plot."""

import csv
import json
import math
import statistics
from pathlib import Path

import matplotlib.pyplot as plt

REFERENCE = [2, 256, 100, 152]
PEERS = {
    'mmnorm.SyncBN': ('nn.BatchNorm2d',),
    'mmnorm.GN': ('nn.GroupNorm',),
    'mmnorm.BCN': ('composed BCN, estimated', 'nn.BatchNorm2d'),
    'mmnorm.BCN, batch': ('composed BCN, batch', 'nn.BatchNorm2d'),
    'mmnorm.SN': ('composed SN',),
}


def ratios(records: list[dict]) -> dict[str, dict[str, float]]:
    """Time of each layer of ours over that of its peers."""
    of = {record['layer']: record['ms'] for record in records}
    return {
        ours: {peer: of[ours] / of[peer] for peer in peers}
        for ours, peers in PEERS.items()
    }


def table(results: dict) -> str:
    """What the README shows: the reference shape and the training step."""
    (case,) = (
        c
        for c in results['layers']
        if c['shape'] == REFERENCE and c['format'] == 'NCHW'
    )
    copied = case['records'][0]['ms']
    rows = [
        f'| {" x ".join(map(str, REFERENCE))} | ms | copies '
        '| kept MB | step of Mask R-CNN, s |',
        '|---|---|---|---|---|',
    ]
    for record in case['records'][1:]:
        name, steps = record['layer'], results['steps']
        step = ''
        if name in steps:
            step = f'{statistics.median(steps[name]):.2f}'
        rows.append(
            f'| {name} | {record["ms"]:.1f} | {record["ms"] / copied:.1f} '
            f'| {record["kept MB"]:.0f} | {step} |'
        )
    return '\n'.join(rows)


def draw(results: dict, path: Path) -> None:
    """Time over number of elements, and over that of a copy, by layer."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5))
    cases = [c for c in results['layers'] if c['format'] == 'NCHW']
    names = [record['layer'] for record in cases[0]['records'][1:]]
    for name in names:
        points = sorted(
            (math.prod(case['shape']) / 1e6, record['ms'], copied)
            for case in cases
            for copied in [case['records'][0]['ms']]
            for record in case['records']
            if record['layer'] == name
        )
        style = '-' if name.startswith('mmnorm') else '--'
        size, ms, copied = zip(*points, strict=True)
        left.loglog(size, ms, style, marker='.', label=name)
        over = [a / b for a, b in zip(ms, copied, strict=True)]
        right.semilogx(size, over, style, marker='.')
    left.set(xlabel='million elements', ylabel='ms, forward and backward')
    right.set(xlabel='million elements', ylabel='copies', ylim=(0, 60))
    left.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def write(results: dict, folder: Path) -> str:
    """Write everything into a folder and return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'norms.json').write_text(json.dumps(results, indent=1) + '\n')
    with (folder / 'norms.csv').open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['name', 'shape', 'format', 'layer', 'ms', 'kept MB'])
        for case in results['layers']:
            shape = 'x'.join(map(str, case['shape']))
            for record in case['records']:
                row = [case['name'], shape, case['format'], record['layer']]
                row += [f'{record["ms"]:.3f}', record.get('kept MB', '')]
                writer.writerow(row)
    draw(results, folder / 'norms.png')
    text = table(results)
    machine = ', '.join(f'{k} {v}' for k, v in results['machine'].items())
    (folder / 'README.md').write_text(f'{machine}\n\n{text}\n')
    return text
