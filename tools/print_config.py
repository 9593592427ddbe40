# Copyright (c) mmnorm contributors. All rights reserved.
"""Print the whole of a config, with what it inherits written out."""

import argparse
from pathlib import Path

from mmengine.config import Config, DictAction

from mmnorm.engine.runner.launch import fail, find_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='a path, or mmdet::... or mmseg::...')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='settings that override the config, as in train_cfg.max_epochs=1',
    )
    parser.add_argument('--out', help='.py file to write it to')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    path = find_config(args.config)
    if args.out is not None:
        if not args.out.endswith('.py'):
            fail(f'--out {args.out!r} has to end in .py')
        if Path(args.out).exists():
            fail(f'--out {args.out!r} is there already: name another file')
    try:
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(args.cfg_options)
    except Exception as error:  # a config is a program and can raise any
        fail(f'config {args.config!r} cannot be read: {error}')
    if args.out is None:
        print(cfg.pretty_text, end='')
        return
    try:
        Path(args.out).write_text(cfg.pretty_text)
    except OSError as error:
        fail(f'--out {args.out!r} cannot be written: {error.strerror}')


if __name__ == '__main__':
    main()
