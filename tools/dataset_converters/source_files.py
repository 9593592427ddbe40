# Copyright (c) mmnorm contributors. All rights reserved.
"""The command line and the pictures of a data set to convert."""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

AGAIN = 'unpack the data set again.'


def parse_args(description: str, name: str, folder: str) -> tuple[Path, Path]:
    """Read the folder to convert, called ``name``, and the one to write."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('source', type=Path, help=f'the unpacked {name}')
    parser.add_argument(
        'out',
        nargs='?',
        type=Path,
        default=Path(folder),
        help=f'folder of the data set, {folder} by default',
    )
    args = parser.parse_args()
    return args.source.resolve(), args.out.resolve()


def list_pictures(folder: Path, name: str) -> list[Path]:
    """List the PNG files of a folder of the data set ``name``."""
    pictures = sorted(folder.glob('*.png'))
    if not pictures:
        raise SystemExit(f'{folder} has no PNG files; give the folder {name}.')
    return pictures


def read_photo(path: Path) -> np.ndarray:
    """Read a photograph, (height, width, 3) in RGB."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert('RGB'))
    except OSError as error:
        raise SystemExit(f'Cannot read {path} ({error}); {AGAIN}') from error


def read_labels(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read the number of each pixel of a photograph of this ``shape``."""
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except OSError as error:
        raise SystemExit(f'Cannot read {path} ({error}); {AGAIN}') from error
    if labels.shape != shape:
        raise SystemExit(
            f'{path} has the shape {labels.shape}, and its photograph '
            f'{shape}; {AGAIN}'
        )
    return labels
