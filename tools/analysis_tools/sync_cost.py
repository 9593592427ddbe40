# Copyright (c) mmnorm contributors. All rights reserved.
"""Count the bytes that the norms of a config all-reduce in a training step."""

import argparse
from collections import Counter

from mmnorm import BCN, SN, SyncBN
from mmnorm.config.build_model import build_model
from mmnorm.config.errors import ConfigError
from mmnorm.config.files import read_config
from mmnorm.config.options import OptionAction
from mmnorm.engine.runner.launch import fail

BYTES = 8  # The numbers are float64.


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='a path, or mmdet::... or mmseg::...')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        default={},
        help='settings that override the config',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        model = build_model(read_config(args.config, args.cfg_options))
    except ConfigError as error:
        fail(str(error))
    # Frozen stages and norm_eval keep some norms of the model in evaluation.
    model.train()
    norms = [m for m in model.modules() if isinstance(m, (BCN, SN, SyncBN))]
    sizes = Counter(
        len(stats.running_mean)
        for stats in (getattr(m, 'bn', m) for m in norms)
        if stats.training and stats.running_mean is not None
    )
    num_layers = sizes.total()
    if num_layers == 0:
        fail(
            f'{args.config} trains no BCN, SN or mmnorm.SyncBN layer with '
            'batch statistics'
        )

    print('| channels | layers | bytes per all-reduce |\n|---|---|---|')
    for channels, count in sorted(sizes.items()):
        print(f'| {channels} | {count} | {BYTES * (2 * channels + 2)} |')
    total = sum(
        count * BYTES * (2 * channels + 2) for channels, count in sizes.items()
    )
    print(
        '\n| statistics | all-reduces forward | backward | after the step '
        '| bytes per step |\n|---|---|---|---|---|\n'
        f'| SyncBN, SN, BCN | {num_layers} | {num_layers} | 0 '
        f'| {2 * total} |\n'
        f"| BCN, `estimate_grad='image'` or None | {num_layers} | 0 | 0 "
        f'| {total} |\n'
        f"| BCN, `sync='step'` | 0 | 0 | 1 | {total} |"
    )


if __name__ == '__main__':
    main()
