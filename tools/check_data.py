# Copyright (c) mmnorm contributors. All rights reserved.
"""Say which data of a config are there, what is missing and how to get it."""

import argparse
import sys

from mmengine.config import Config

from mmnorm.config.check_data import Row, check_data
from mmnorm.config.errors import ConfigError
from mmnorm.config.files import read_config
from mmnorm.config.options import OptionAction, override
from mmnorm.engine.runner.launch import fail

HEADER = ('split', 'type', 'what', 'path', 'status', 'details')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config', help='a path, or mmdet::..., mmseg::... or mmpretrain::...'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        default={},
        help='settings that override the config, as in '
        'train_dataloader.dataset.data_root=data/mine/',
    )
    return parser.parse_args()


def option_error(cfg: Config, option: str) -> str | None:
    """Return which part of a dotted key the config lacks, or None.

    An argument of a data set may be new, because the data set takes or
    refuses it.
    """
    node = cfg.to_dict()
    parts = option.split('.')
    for part in parts[:-1] or parts:
        try:
            is_list = isinstance(node, (list, tuple))
            node = node[int(part) if is_list else part]
        except (LookupError, TypeError, ValueError):
            if (
                isinstance(node, dict)
                and 'type' in node
                and part.isidentifier()
            ):
                return None
            return f'the config has no {part!r} of {option!r}'
    return None


def table(rows: list[Row]) -> str:
    lines = [HEADER, *(row[: len(HEADER)] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join(
        '  '.join(map(str.ljust, line, widths)).rstrip() for line in lines
    )


def advice(rows: list[Row]) -> str:
    """Return where the guide says how to get the data that are missing."""
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
    try:
        cfg = read_config(args.config)
        for option in args.cfg_options:
            if error := option_error(cfg, option):
                fail(error)
        override(cfg, args.cfg_options)
        rows = check_data(cfg)
    except ConfigError as error:
        fail(str(error))
    print(table(rows), end='\n\n')
    todo = advice(rows)
    print(todo or 'All found: the data are ready.')
    sys.exit(1 if todo else 0)


if __name__ == '__main__':
    main()
