# Copyright (c) mmnorm contributors. All rights reserved.
"""Say which data of a config are there, what is missing and how to get it."""

import argparse
import sys

from mmengine.config import Config, DictAction

from mmnorm.config.check_data import Row, check_data
from mmnorm.engine.runner.launch import fail, read_config

HEADER = ('split', 'type', 'what', 'path', 'status', 'details')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='settings that override the config, as in '
        'train_dataloader.dataset.data_root=data/mine/',
    )
    # What read_config asks of the tools that start a run.
    parser.set_defaults(launcher='none', work_dir=None, channels_last=False)
    return parser.parse_args()


def option_error(cfg: Config, option: str) -> str | None:
    """Say which part of a dotted key the config does not have.

    The last part may be new: what it is set for knows it or refuses it.
    """
    node = cfg.to_dict()
    parts = option.split('.')
    for part in parts[:-1] or parts:
        try:
            is_list = isinstance(node, (list, tuple))
            node = node[int(part) if is_list else part]
        except (LookupError, TypeError, ValueError):
            return f'the config has no {part!r} of {option!r}'
    return None


def table(rows: list[Row]) -> str:
    lines = [HEADER, *(row[: len(HEADER)] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join(
        '  '.join(map(str.ljust, line, widths)).rstrip() for line in lines
    )


def advice(rows: list[Row]) -> str:
    """Where it is written how to get what was not found."""
    splits: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.status != 'found':
            splits.setdefault(row.section, {})[row.split] = None
    return '\n'.join(
        f'See docs/data.md, section {section!r}, for the data of '
        + ', '.join(names)
        for section, names in splits.items()
    )


def main() -> None:
    args = parse_args()
    options, args.cfg_options = args.cfg_options, None
    try:
        cfg = read_config(args)
    except Exception as error:  # a config is a program and can raise any
        fail(f'config {args.config!r} cannot be read: {error}')
    for option in options:
        if error := option_error(cfg, option):
            fail(error)
    cfg.merge_from_dict(options)
    try:
        rows = check_data(cfg)
    except ValueError as error:
        fail(str(error))
    print(table(rows), end='\n\n')
    lacking = advice(rows)
    print(lacking or 'All found: the data are ready.')
    sys.exit(1 if lacking else 0)


if __name__ == '__main__':
    main()
