# Copyright (c) mmnorm contributors. All rights reserved.
"""The marker and the safe writing of the folder of a data set."""

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path


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
    write: Callable[[Path], None],
) -> None:
    """Make the data set in ``out`` unless it is there already.

    Args:
        out: The folder to create, or to fill if the folder is empty.
        config: The numbers that determine the data set, with those of the
            images in ``train`` and ``val``.
        marker: The name of the file that records the config and the digest.
        write: A function that writes the data set into a new folder.
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
            write(made)
            content = config | {'sha256': digest(made)}
            (made / marker).write_text(json.dumps(content, indent=2) + '\n')
            made.rename(out)
    except OSError as error:
        raise SystemExit(
            f'Cannot write {out} ({error}); name another folder.'
        ) from error
    print(f'Wrote {config["train"]} + {config["val"]} images to {out}.')
