# Copyright (c) mmnorm contributors. All rights reserved.
"""Print the whole of a config, with what it inherits written out."""

import argparse
from pathlib import Path

from mmnorm.checkpoints.checks import existing_error
from mmnorm.config.errors import ConfigError
from mmnorm.config.files import read_config
from mmnorm.config.options import OptionAction
from mmnorm.engine.runner.launch import fail


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
        help='settings that override the config, as in train_cfg.max_epochs=1',
    )
    parser.add_argument('--out', help='.py file to write the config to')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.out is not None:
        if not args.out.endswith('.py'):
            fail(f'--out {args.out!r} has to end in .py')
        if error := existing_error(args.out):
            fail(f'--out {error}')
    try:
        cfg = read_config(args.config, args.cfg_options)
    except ConfigError as error:
        fail(str(error))
    if args.out is None:
        print(cfg.pretty_text, end='')
        return
    try:
        Path(args.out).write_text(cfg.pretty_text)
    except OSError as error:
        fail(f'--out {args.out!r} cannot be written: {error.strerror}')


if __name__ == '__main__':
    main()
