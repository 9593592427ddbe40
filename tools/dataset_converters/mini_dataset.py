# Copyright (c) mmnorm contributors. All rights reserved.
"""The command line of a mini data set, and what each image shows."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

SPLITS = ('train', 'val')
# Each split has one image without digits and one image with a crowd.
OPTIONS = {
    'train': (2, 'images for training'),
    'val': (2, 'images for validation'),
    'size': (64, 'width and height in pixels'),
    'height': (64, 'height in pixels'),
    'seed': (0, 'seed of all random choices'),
}
"""The smallest value and the help of each option of the commands."""


def parse_args(
    description: str, folder: str, defaults: dict[str, int]
) -> tuple[Path, dict[str, int]]:
    """Read the folder to write, and the options that have ``defaults``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        'out',
        nargs='?',
        type=Path,
        default=Path(folder),
        help=f'folder of the data set, {folder} by default',
    )
    for name, default in defaults.items():
        text = OPTIONS[name][1]
        parser.add_argument(f'--{name}', type=int, default=default, help=text)
    config = vars(parser.parse_args())
    out = config.pop('out').resolve()
    for name, value in config.items():
        low = OPTIONS[name][0]
        if value < low:
            raise SystemExit(f'--{name} is {value}; give {low} or more.')
    return out, config


def draws(
    split: str, config: dict[str, int]
) -> Iterator[tuple[np.random.Generator, int, bool]]:
    """Decide on the content of each image of a split, with a progress bar.

    Yields:
        The random generator of the split, the number of digits, and whether
        the image has a heap. One image has no digit, another image has a heap.
    """
    rng = np.random.default_rng((config['seed'], SPLITS.index(split)))
    special = rng.choice(config[split], 2, replace=False)
    # The bar appears in a terminal only, and never in a log file.
    for index in tqdm(range(config[split]), split, disable=None):
        empty, crowded = index == special
        yield rng, 0 if empty else rng.integers(3, 7), crowded
