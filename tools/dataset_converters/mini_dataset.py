# Copyright (c) mmnorm contributors. All rights reserved.
"""The command line, the marker and the safe writing of a mini data set."""

import argparse
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
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


def digest(root: Path, *besides: Path) -> str:
    """Hash names and bytes of all files under ``root`` except ``besides``."""
    sha = hashlib.sha256()
    for path in sorted(root.rglob('*')):
        if path.is_file() and path not in besides:
            sha.update(f'{path.relative_to(root).as_posix()}\0'.encode())
            sha.update(path.read_bytes())
    return sha.hexdigest()


def is_made(out: Path, config: dict[str, int], marker: str) -> bool:
    """Return whether ``out`` holds the data set; refuse any other content."""
    if out.exists() and not out.is_dir():
        raise SystemExit(f'{out} is a file; name a folder instead.')
    names = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if not names:
        return False
    advice = 'remove it or name another folder.'
    if marker not in names:
        raise SystemExit(f'{out} holds other files ({names[0]}); {advice}')
    try:
        found = json.loads((out / marker).read_text())
    except ValueError:
        raise SystemExit(f'{out / marker} is damaged; {advice}') from None
    for key, value in config.items():
        made = found.get(key)
        if made != value:
            raise SystemExit(f'{out} has {key} {made}, not {value}; {advice}')
    if found.get('sha256') != digest(out, out / marker):
        raise SystemExit(f'{out} was changed after it was made; {advice}')
    return True


def make(
    out: Path,
    config: dict[str, int],
    marker: str,
    write: Callable[[Path, dict[str, int]], str],
) -> None:
    """Make the data set in ``out`` unless it is there already.

    Args:
        out: The folder to create, or to fill if the folder is empty.
        config: The numbers that determine the data set.
        marker: The name of the file that records the config and the digest.
        write: A function that writes the data set under a folder and returns
            the digest.
    """
    try:
        if is_made(out, config, marker):
            print(f'{out} already holds this data set; nothing to do.')
            return
        out.parent.mkdir(parents=True, exist_ok=True)
        # An incomplete data set never has the final name.
        with tempfile.TemporaryDirectory(
            prefix=f'{out.name}.', dir=out.parent
        ) as temporary:
            made = Path(temporary) / out.name
            content = config | {'sha256': write(made, config)}
            (made / marker).write_text(json.dumps(content, indent=2) + '\n')
            made.rename(out)
    except OSError as error:
        raise SystemExit(
            f'Cannot write {out} ({error}); name another folder.'
        ) from error
    print(f'Wrote {config["train"]} + {config["val"]} images to {out}.')
