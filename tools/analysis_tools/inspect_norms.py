# Copyright (c) mmnorm contributors. All rights reserved.
"""List the norms of a model as a training has them, and known mistakes.

The model gets the weights of CHECKPOINT. Without a checkpoint it gets random
weights, and nothing is downloaded.
"""

import argparse
import json
import sys
from collections import Counter

from torch import nn

from mmnorm.analysis import Mistake, NormState
from mmnorm.analysis.inspection import initialized_model, inspect_norms
from mmnorm.analysis.norm_states import in_words
from mmnorm.checkpoints import compare
from mmnorm.checkpoints.convert.formats import state_of
from mmnorm.checkpoints.files import read_checkpoint
from mmnorm.config.errors import ConfigError
from mmnorm.config.files import read_config
from mmnorm.config.options import OptionAction
from mmnorm.engine.runner.launch import fail


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='a path, or mmdet::... or mmseg::...')
    parser.add_argument('checkpoint', nargs='?', help='path of a checkpoint')
    parser.add_argument(
        '--json', action='store_true', help='print JSON instead of text'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        default={},
        help='settings that override the config',
    )
    return parser.parse_args()


def load(model: nn.Module, path: str) -> dict:
    """Load what fits of a checkpoint, and return its weights.

    A training warns of the rest, too, and loads what fits.
    """
    if '://' in path:
        fail(f'{path!r} is an address: download the file first')
    try:
        weights = state_of(read_checkpoint(path))
    except ValueError as error:
        fail(str(error))
    loaded = compare.load(model, weights)
    if loaded.mismatched:
        number, first = len(loaded.mismatched), loaded.mismatched[0]
        print(
            f'entries of another shape than in the model: {number}, the first '
            f'of them {first}',
            file=sys.stderr,
        )
    return weights


def rows_of(states: list[NormState], weights: dict | None) -> list[dict]:
    """Return a row of words per norm."""
    rows = []
    for state in states:
        loaded = None
        if weights is not None:
            loaded = any(key.startswith(f'{state.name}.') for key in weights)
        row = {**state._asdict(), 'loaded': loaded}
        rows.append({key.replace('_', ' '): row[key] for key in row})
    return rows


def text_of(rows: list[dict], parts: list[str], found: list[Mistake]) -> str:
    """Return the table, the number of norms per part, and the mistakes."""
    table = [list(rows[0])] if rows else []
    table += [[in_words(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = map(str.ljust, row, widths)
        lines.append('  '.join(cells).rstrip())
    counts = Counter(parts)
    numbers = ', '.join(f'{count} in {part}' for part, count in counts.items())
    lines += ['', f'{len(rows)} norms: {numbers or "none"}']
    for mistake in found:
        lines += ['', f'Mistake: {mistake.sentence}.']
        if mistake.norms:
            lines.append(f'  the first of them: {mistake.norms[0]}')
        lines.append(f'  change: {mistake.key}')
    if not found:
        lines += ['', 'No known mistake.']
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    try:
        cfg = read_config(args.config, args.cfg_options)
        model = initialized_model(cfg)
        weights = load(model, args.checkpoint) if args.checkpoint else None
        states, parts, mistakes = inspect_norms(model, cfg, weights)
    except ConfigError as error:
        fail(str(error))
    rows = rows_of(states, weights)
    if args.json:
        for row, part in zip(rows, parts, strict=True):
            row['part'] = part
        found = [mistake._asdict() for mistake in mistakes]
        print(json.dumps({'norms': rows, 'mistakes': found}, indent=2))
    else:
        print(text_of(rows, parts, mistakes))


if __name__ == '__main__':
    main()
