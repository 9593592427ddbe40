# Copyright (c) mmnorm contributors. All rights reserved.
"""What the mini data sets share: command line, marker and safe writing."""

import argparse
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

SPLITS = ('train', 'val')
# Each split needs room for its empty picture and its crowd.
OPTIONS = {
    'train': (2, 'pictures'),
    'val': (2, 'pictures'),
    'size': (64, 'in pixels'),
    'height': (64, 'in pixels'),
    'seed': (0, None),
}
"""Smallest value and help of the numbers that a tool may take."""


def parse_args(
    description: str, folder: str, defaults: dict[str, int]
) -> tuple[Path, dict[str, int]]:
    """Read the folder to write, and the numbers that have ``defaults``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('out', nargs='?', type=Path, default=Path(folder))
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
    """Decide what each picture of a split holds, with a progress bar.

    Yields the split's only source of chance, how many digits to place and
    whether to put a heap: one picture has no digit, another has a heap.
    """
    rng = np.random.default_rng((config['seed'], SPLITS.index(split)))
    special = rng.choice(config[split], 2, replace=False)
    # A bar in a log file would be noise, so it needs a terminal.
    for index in tqdm(range(config[split]), split, disable=None):
        empty, crowded = index == special
        yield rng, 0 if empty else rng.integers(3, 7), crowded


def digest(root: Path, *besides: Path) -> str:
    """Hash the names and bytes of all files under ``root`` but ``besides``."""
    sha = hashlib.sha256()
    for path in sorted(root.rglob('*')):
        if path.is_file() and path not in besides:
            sha.update(f'{path.relative_to(root).as_posix()}\0'.encode())
            sha.update(path.read_bytes())
    return sha.hexdigest()


def is_made(out: Path, config: dict[str, int], marker: str) -> bool:
    """Tell whether ``out`` holds the data set; refuse anything else in it."""
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
        out: Folder to create or to fill if it is empty.
        config: What the data set follows from.
        marker: Name of the file that records the config and the digest.
        write: Writes the data set under a folder and returns its digest.
    """
    try:
        if is_made(out, config, marker):
            print(f'{out} already holds this data set; nothing to do.')
            return
        out.parent.mkdir(parents=True, exist_ok=True)
        # A half-made data set never carries the final name.
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
    print(f'Wrote {config["train"]} + {config["val"]} pictures to {out}.')
