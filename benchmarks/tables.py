# Copyright (c) mmnorm contributors. All rights reserved.
"""Tables of the results of benchmarks/norms.py, in Markdown."""

import math
import statistics
from collections.abc import Callable, Iterable

Row = dict
REFERENCE = {'name': 'fpn stride 8', 'images': 2}
PEERS = {
    'mmnorm.SyncBN': ('nn.BatchNorm2d', 'nn.SyncBatchNorm, operators'),
    'mmnorm.GN': ('nn.GroupNorm', 'Liger GroupNorm', 'apex GroupNorm'),
    'mmnorm.BCN': (
        'nn.BatchNorm2d',
        'composed BCN, estimated',
        'composed BCN, estimated, compiled',
    ),
    'mmnorm.BCN, batch': (
        'nn.BatchNorm2d',
        'composed BCN, batch',
        'composed BCN, batch, compiled',
    ),
    'mmnorm.SN': ('nn.BatchNorm2d', 'composed SN', 'composed SN, compiled'),
    'mmnorm.BCN, compiled': ('composed BCN, estimated, compiled',),
    'mmnorm.SN, compiled': ('composed SN, compiled',),
}
# Elements of a float32 tensor of 32 MiB. Up to this size glibc's malloc keeps
# freed memory (mallopt(3), M_MMAP_THRESHOLD); for a larger result the system
# maps and clears new pages at nearly each call. On CPU this is a step in the
# time of every operator that returns a tensor, and one line through both sides
# would show the step instead of the cost per element. At the step itself the
# time depends on the memory that was freed before. Below the step the slopes
# differ from 1 too, because small tensors lie in caches and the constant cost
# of a call matters.
STEP = 2**23


def select(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """Return the rows that have the wanted values."""
    return [row for row in rows if all(row[k] == v for k, v in wanted.items())]


def markdown(columns: dict[str, list[str]]) -> str:
    """Return a table without the empty columns."""
    columns = {head: cells for head, cells in columns.items() if any(cells)}
    lines = [list(columns), ['---'] * len(columns)]
    lines += zip(*columns.values(), strict=True)
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def cell(value: float | list[float] | None, digits: int = 2) -> str:
    """Format a number, or a median with its quartiles."""
    if value is None:
        return ''
    if isinstance(value, list):
        low, middle, high = (cell(v, digits) for v in value)
        return f'{middle} ({low} to {high})'
    return f'{value:.{digits}f}'


def slope(rows: list[Row], fits: Callable[[int], bool]) -> float | None:
    """Return the slope of log time over log elements, for sizes that fit."""
    points = [
        (math.log(math.prod(row['shape'])), math.log(row['step ms'][1]))
        for row in rows
        if fits(math.prod(row['shape']))
    ]
    sizes = [size for size, _ in points]
    if not sizes or max(sizes) - min(sizes) < math.log(4):
        return None  # The slope of a short range is noise.
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def float_table(rows: list[Row]) -> str:
    """Return the table of all layers in float32 at the reference shape."""
    plain = select(rows, dtype='float32', format='NCHW')
    columns: dict[str, list[str]] = {}

    def add(head: str, text: str) -> None:
        columns.setdefault(head, []).append(text)

    for row in select(plain, **REFERENCE):
        if row['layer'] == 'copy':
            continue
        same = select(plain, layer=row['layer'])
        add('x'.join(map(str, row['shape'])), row['layer'])
        for what in ('step', 'forward', 'backward'):
            add(f'{what}, ms', cell(row[f'{what} ms']))
        for what in ('forward', 'backward'):
            add(f'share {what}', cell(row[f'{what} share']))
        add('kept MB', cell(row['kept MB'], 0))
        add('peak MB', cell(row.get('peak MB'), 0))
        add('launching, ms', cell(row.get('launch ms')))
        add('slope below', cell(slope(same, lambda size: size < STEP)))
        add('slope above', cell(slope(same, lambda size: size > STEP)))
    return markdown(columns)


def half_table(rows: list[Row]) -> str:
    """Return the table of layers with a ReLU in half precision."""
    half = [
        row
        for row in select(rows, **REFERENCE)
        if row['dtype'] != 'float32' and row['layer'] != 'copy'
    ]
    by_layer = {(row['layer'], row['format']): row for row in half}
    names = [name for name in names_of(half) if 'fused' not in name]
    columns = {half[0]['dtype']: names}
    for label in ('NCHW', 'NHWC'):
        for suffix in ('', ', fused ReLU'):
            cells = columns[f'{label}{suffix}, ms'] = []
            for name in names:
                row = by_layer.get((name + suffix, label), {})
                cells.append(cell(row.get('step ms')))
    return markdown(columns)


def ratios(rows: list[Row], ours: str, peer: str) -> dict[tuple, list[float]]:
    """Return times over those of a peer, the reference shape first.

    The keys are pairs of dtype and format.
    """
    keys = ('dtype', 'format', 'images', 'name')
    peers = {tuple(r[k] for k in keys): r for r in select(rows, layer=peer)}
    found: dict[tuple, list[float]] = {}
    for row in select(rows, layer=ours):
        other = peers.get(tuple(row[k] for k in keys))
        if other is None:
            continue
        ratio = row['step ms'][1] / other['step ms'][1]
        values = found.setdefault((row['dtype'], row['format']), [])
        if all(row[k] == v for k, v in REFERENCE.items()):
            values.insert(0, ratio)
        else:
            values.append(ratio)
    return found


def ratio_table(rows: list[Row]) -> str:
    """Return the table of times of mmnorm's layers over those of peers."""
    heads = dict.fromkeys((row['dtype'], row['format']) for row in rows)
    columns: dict[str, list[str]] = {'ours': [], 'over': []}
    columns |= {' '.join(head): [] for head in heads}
    for name in names_of(rows):
        plain = name.removesuffix(', fused ReLU')
        for peer in PEERS.get(plain, ()):
            found = ratios(rows, name, peer)
            if not found:
                continue
            columns['ours'].append(name)
            columns['over'].append(peer)
            for head in heads:
                values = found.get(head)
                text = ''
                if values:
                    text = cell([min(values), values[0], max(values)])
                columns[' '.join(head)].append(text)
    return markdown(columns)


def network_table(sizes: list[Row], steps: list[Row]) -> str:
    """Return the table of stalls at new sizes, and of training steps."""
    names = list(dict.fromkeys(row['layer'] for row in [*sizes, *steps]))
    columns = {'': names}
    stalls = {row['layer']: row['stall ms'] for row in sizes}
    for head, reduce in (('median', statistics.median), ('largest', max)):
        columns[f'stall at a new size, {head}, ms'] = [
            cell(reduce(stalls[name])) if name in stalls else ''
            for name in names
        ]
    for model in dict.fromkeys(row['model'] for row in steps):
        by_layer = {r['layer']: r for r in select(steps, model=model)}
        for head, key, digits in (('s', 's', 2), ('peak MB', 'peak MB', 0)):
            columns[f'{model}, {head}'] = [
                cell(middle(by_layer.get(name, {}).get(key)), digits)
                for name in names
            ]
    return markdown(columns)


def host_table(rows: list[Row]) -> str:
    """Return the table of what layers cost the host."""
    columns = {'': [row['layer'] for row in rows]}
    for what in ('forward us', 'step us', 'eval us'):
        columns[what] = [cell(row[what], 0) for row in rows]
    for what in ('launches', 'torch kernels'):
        columns[what] = [str(row[what]) for row in rows]
    over = 'over nn.BatchNorm2d'
    columns[f'step {over}'] = [cell(row[over]) for row in rows]
    return markdown(columns)


def middle(value: float | list[float] | None) -> float | list[float] | None:
    """Return the least, the median and the largest of a few repeats."""
    if isinstance(value, list):
        return [min(value), statistics.median(value), max(value)]
    return value


def names_of(rows: Iterable[Row]) -> list[str]:
    """Return the names of the layers, in the order of the rows."""
    return list(dict.fromkeys(row['layer'] for row in rows))
