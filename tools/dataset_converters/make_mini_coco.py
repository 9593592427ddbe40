# Copyright (c) mmnorm contributors. All rights reserved.
"""Make a small real data set in the layout of COCO, without downloading."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from dataset_folder import make
from mini_dataset import SPLITS, draws, parse_args
from mini_scenes import Instance, compose, load_sources
from PIL import Image
from pycocotools import mask as mask_utils

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
    # In a doubled mask the outline runs a quarter of a pixel inside the true
    # border. Every pixel center is then strictly on its own side.
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
            ring = bridge(ring, rings[hole])
            hole = links[0][hole][0]
        parts.append(((ring + 0.5) / 2).ravel().tolist())
    return parts


def bridge(ring: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Join two rings by a seam: one ring is a hole or a part of the other."""
    gaps = np.abs(ring[:, None] - other).sum(-1)
    i, j = np.unravel_index(gaps.argmin(), gaps.shape)
    return np.concatenate((ring[: i + 1], other[j:], other[: j + 1], ring[i:]))


def run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """Encode a mask by plain counts, as COCO encodes crowds."""
    flat = mask.ravel(order='F')
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff(changes, prepend=0, append=flat.size)
    return {'counts': counts.tolist(), 'size': list(mask.shape)}


def annotate(instance: Instance) -> dict[str, Any]:
    """Describe an instance; area and box follow from the written mask."""
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
    """Write both splits under the new folder ``root``."""
    size = config['size']
    image_id = annotation_id = 0
    (root / 'annotations').mkdir(parents=True)
    for split in SPLITS:
        sources = load_sources(split)
        folder = root / f'{split}2017'
        folder.mkdir()
        images, annotations = [], []
        for rng, count, crowded in draws(split, config):
            image, instances = compose(
                sources, rng, (size, size), count, crowded
            )
            image_id += 1
            name = f'{image_id:012}.jpg'
            Image.fromarray(image).save(folder / name, quality=95)
            entry = {'id': image_id, 'file_name': name, 'license': 1}
            images.append(entry | {'height': size, 'width': size})
            for instance in instances:
                annotation_id += 1
                ids = {'id': annotation_id, 'image_id': image_id}
                annotations.append(ids | annotate(instance))
        content = HEADER | {'images': images, 'annotations': annotations}
        path = root / 'annotations' / f'instances_{split}2017.json'
        path.write_text(json.dumps(content))


def main() -> None:
    defaults = {'train': 400, 'val': 80, 'size': 160, 'seed': 0}
    out, config = parse_args(__doc__, 'data/mini_coco', defaults)
    numbers = config | {'format': FORMAT}
    make(out, numbers, MARKER, partial(write_dataset, config=config))


if __name__ == '__main__':
    main()
