# Copyright (c) mmnorm contributors. All rights reserved.
"""Make a small real data set in the layout of COCO, without downloading."""

import argparse
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mini_scenes import Instance, compose, load_sources
from PIL import Image
from pycocotools import mask as mask_utils
from tqdm import tqdm

FORMAT = 1
MARKER = 'mini_coco.json'
NAMES = (
    *('zero', 'one', 'two', 'three', 'four'),
    *('five', 'six', 'seven', 'eight', 'nine'),
)
LICENSE_URL = 'https://creativecommons.org/licenses/by/2.0/'
HEADER = {
    'info': {
        'description': 'Mini COCO: handwritten digits on photographs',
        'version': str(FORMAT),
        'contributor': 'mmnorm contributors',
    },
    'licenses': [{'id': 1, 'name': 'Attribution License', 'url': LICENSE_URL}],
    'categories': [
        {'id': digit + 1, 'name': name, 'supercategory': 'digit'}
        for digit, name in enumerate(NAMES)
    ],
}


def polygons(mask: np.ndarray) -> list[list[float]]:
    """Outline a mask; pycocotools decodes the result to the same mask."""
    # In a doubled mask the outline runs a quarter of a pixel inside the
    # true border, so that every pixel centre is strictly on its own side.
    double = mask.astype(np.uint8).repeat(2, 0).repeat(2, 1)
    contours, links = cv2.findContours(
        double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    rings = [contour.reshape(-1, 2) for contour in contours]
    parts = []
    for ring, (_, _, hole, parent) in zip(rings, links[0], strict=True):
        if parent >= 0:
            continue
        while hole >= 0:
            ring = _bridge(ring, rings[hole])
            hole = links[0][hole][0]
        parts.append(((ring + 0.5) / 2).ravel().tolist())
    return parts


def _bridge(ring: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Join a hole to its ring by a seam, as COCO polygons have no holes."""
    gaps = np.abs(ring[:, None] - hole).sum(-1)
    i, j = np.unravel_index(gaps.argmin(), gaps.shape)
    return np.concatenate((ring[: i + 1], hole[j:], hole[: j + 1], ring[i:]))


def run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """Encode a mask as COCO encodes its crowds, with plain counts."""
    flat = mask.ravel(order='F')
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff(changes, prepend=0, append=flat.size)
    return {'counts': counts.tolist(), 'size': list(mask.shape)}


def annotate(instance: Instance) -> dict[str, Any]:
    """Describe an instance; area and box are those of what is written."""
    mask = instance.mask
    segmentation = run_lengths(mask) if instance.crowd else polygons(mask)
    rle = mask_utils.frPyObjects(segmentation, *mask.shape)
    if not instance.crowd:
        rle = mask_utils.merge(rle)
    return {
        'category_id': instance.category + 1,
        'segmentation': segmentation,
        'area': int(mask_utils.area(rle)),
        'bbox': mask_utils.toBbox(rle).tolist(),
        'iscrowd': int(instance.crowd),
    }


def write_dataset(root: Path, config: dict[str, int]) -> None:
    """Write both splits and the marker under the empty folder ``root``."""
    size = config['size']
    image_id = annotation_id = 0
    (root / 'annotations').mkdir(parents=True)
    for stream, split in enumerate(('train', 'val')):
        sources = load_sources(split)
        folder = root / f'{split}2017'
        folder.mkdir()
        images, annotations = [], []
        rng = np.random.default_rng((config['seed'], stream))
        special = rng.choice(config[split], 2, replace=False)
        # A bar in a log file would be noise, so it needs a terminal.
        for index in tqdm(range(config[split]), split, disable=None):
            empty, crowded = index == special
            count = 0 if empty else rng.integers(3, 7)
            picture, instances = compose(
                sources, rng, (size, size), count, crowded
            )
            image_id += 1
            name = f'{image_id:012}.jpg'
            Image.fromarray(picture).save(folder / name, quality=95)
            entry = {'id': image_id, 'file_name': name, 'license': 1}
            images.append(entry | {'height': size, 'width': size})
            for instance in instances:
                annotation_id += 1
                ids = {'id': annotation_id, 'image_id': image_id}
                annotations.append(ids | annotate(instance))
        content = HEADER | {'images': images, 'annotations': annotations}
        path = root / 'annotations' / f'instances_{split}2017.json'
        path.write_text(json.dumps(content))
    marker = config | {'sha256': digest(root)}
    (root / MARKER).write_text(json.dumps(marker, indent=2) + '\n')


def digest(root: Path) -> str:
    """Hash the names and bytes of all files but the marker."""
    sha = hashlib.sha256()
    for path in sorted(root.rglob('*')):
        if path.is_file() and path != root / MARKER:
            sha.update(f'{path.relative_to(root).as_posix()}\0'.encode())
            sha.update(path.read_bytes())
    return sha.hexdigest()


def is_made(out: Path, config: dict[str, int]) -> bool:
    """Tell whether ``out`` holds the data set; refuse anything else in it."""
    if out.exists() and not out.is_dir():
        raise SystemExit(f'{out} is a file; name a folder instead.')
    names = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if not names:
        return False
    advice = 'remove it or name another folder.'
    if MARKER not in names:
        raise SystemExit(f'{out} holds other files ({names[0]}); {advice}')
    try:
        marker = json.loads((out / MARKER).read_text())
    except ValueError:
        raise SystemExit(f'{out / MARKER} is damaged; {advice}') from None
    for key, value in config.items():
        made = marker.get(key)
        if made != value:
            raise SystemExit(f'{out} has {key} {made}, not {value}; {advice}')
    if marker.get('sha256') != digest(out):
        raise SystemExit(f'{out} was changed after it was made; {advice}')
    return True


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    out = Path('data/mini_coco')
    parser.add_argument('out', nargs='?', type=Path, default=out)
    parser.add_argument('--train', type=int, default=320, help='pictures')
    parser.add_argument('--val', type=int, default=80, help='pictures')
    parser.add_argument('--size', type=int, default=160, help='in pixels')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    # Each split needs room for its empty picture and its crowd.
    for name, low in {'train': 2, 'val': 2, 'size': 64, 'seed': 0}.items():
        value = getattr(args, name)
        if value < low:
            raise SystemExit(f'--{name} is {value}; give {low} or more.')
    return args


def main() -> None:
    config = vars(parse_args())
    out = config.pop('out').resolve()
    config['format'] = FORMAT
    try:
        if is_made(out, config):
            print(f'{out} already holds this data set; nothing to do.')
            return
        out.parent.mkdir(parents=True, exist_ok=True)
        # A half-made data set never carries the final name.
        with tempfile.TemporaryDirectory(
            prefix=f'{out.name}.', dir=out.parent
        ) as temporary:
            made = Path(temporary) / out.name
            write_dataset(made, config)
            made.rename(out)
    except OSError as error:
        raise SystemExit(
            f'Cannot write {out} ({error}); name another folder.'
        ) from error
    print(f'Wrote {config["train"]} + {config["val"]} pictures to {out}.')


if __name__ == '__main__':
    main()
