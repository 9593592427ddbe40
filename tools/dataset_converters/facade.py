# Copyright (c) mmnorm contributors. All rights reserved.
"""Convert building facades to COCO's format and to label images.

The repository a-hwang/building-facade-segmentation on github.com holds the
photographs (CC BY 4.0) and their polygons, as Roboflow exports them. The
converter halves both sides, from 1024 to 512 pixels.
"""

import json
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from dataset_folder import make
from PIL import Image
from source_files import AGAIN, parse_args, read_photo
from tqdm import tqdm

FORMAT = 1
MARKER = 'facade.json'
NAME = 'building-facade-segmentation'
KEYS = ('licenses', 'categories', 'images', 'annotations')
FOLDERS = {'train': 'train', 'val': 'valid'}
SIDE = 512
IGNORED = 255
QUALITY = 88
INFO = {
    'description': f'building facades, a-hwang/{NAME}, CC BY 4.0, resized to '
    f'{SIDE} px'
}


def read_split(folder: Path) -> dict[str, Any]:
    """Read the file of a split, and check its annotations."""
    path = folder / '_annotations.coco.json'
    if not path.is_file():
        raise SystemExit(f'{path} does not exist; give the folder {NAME}.')
    try:
        found = json.loads(path.read_text())
        content = {key: found[key] for key in KEYS}
        # Roboflow puts one more category before those of the data set.
        content['categories'] = [
            {'id': category['id'], 'name': category['name']}
            for category in content['categories']
            if category.get('supercategory') != 'none'
        ]
        known = {category['id'] for category in content['categories']}
        for annotation in content['annotations']:
            polygons = annotation['segmentation']
            if not (polygons and isinstance(polygons, list)):
                raise SystemExit(
                    f'{path} has no polygon for the annotation '
                    f'{annotation["id"]}; export it as COCO segmentation.'
                )
            if annotation['category_id'] not in known:
                raise ValueError(f'category {annotation["category_id"]}')
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(f'{path} is damaged ({error!r}); {AGAIN}') from error
    return content


def paint(
    canvas: np.ndarray, polygons: list[list[float]], value: int
) -> np.ndarray:
    """Give the pixels in any of the polygons the value."""
    for polygon in polygons:
        ring = np.round(np.reshape(polygon, (-1, 2))).astype(np.int32)
        cv2.fillPoly(canvas, [ring], value)
    return canvas


def annotate(annotation: dict[str, Any]) -> dict[str, Any]:
    """Describe an instance at half its size."""
    polygons = [
        [round(coordinate / 2, 2) for coordinate in polygon]
        for polygon in annotation['segmentation']
    ]
    corners = np.concatenate(polygons).reshape(-1, 2)
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    box = (left, top, right - left, bottom - top)
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    return {
        'category_id': annotation['category_id'],
        'iscrowd': 0,
        'area': int(paint(canvas, polygons, 1).sum()),
        'segmentation': polygons,
        'bbox': [round(float(value), 2) for value in box],
    }


def find_photo(folder: Path, name: str) -> Path:
    """Return the path of a photograph; some of them are in ``images``."""
    path = folder / name
    return path if path.is_file() else folder / 'images' / name


def shrink(path: Path) -> np.ndarray:
    """Read a photograph at half its size."""
    photo = read_photo(path)
    height, width, _ = photo.shape
    if (height, width) != (2 * SIDE, 2 * SIDE):
        raise SystemExit(
            f'{path} has {width} x {height} pixels, not {2 * SIDE} x '
            f'{2 * SIDE}; take the original photographs.'
        )
    return cv2.resize(photo, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def write_split(
    root: Path, split: str, folder: Path, content: dict[str, Any]
) -> None:
    """Write the images, the labels and the annotations of a split."""
    labels = {
        category['id']: label
        for label, category in enumerate(content['categories'])
    }
    per_image = defaultdict(list)
    for annotation in content['annotations']:
        per_image[annotation['image_id']].append(annotate(annotation))
    images, annotations = [], []
    for image_id, entry in enumerate(
        tqdm(content['images'], split, disable=None), 1
    ):
        photo = shrink(find_photo(folder, entry['file_name']))
        name = f'{image_id:04}'
        path = root / 'images' / split / f'{name}.jpg'
        Image.fromarray(photo).save(path, quality=QUALITY)
        image = {'id': image_id, 'file_name': path.name}
        images.append(image | {'height': SIDE, 'width': SIDE})
        # A window is in front of the facade that surrounds it.
        instances = sorted(
            (
                instance
                for instance in per_image[entry['id']]
                if min(instance['bbox'][2:]) >= 1
            ),
            key=lambda instance: -instance['area'],
        )
        truth = np.full((SIDE, SIDE), IGNORED, np.uint8)
        for instance in instances:
            label = labels[instance['category_id']]
            paint(truth, instance['segmentation'], label)
            ids = {'id': len(annotations) + 1, 'image_id': image_id}
            annotations.append(ids | instance)
        Image.fromarray(truth).save(root / 'labels' / split / f'{name}.png')
    header = {'info': INFO, 'licenses': content['licenses']}
    path = root / 'annotations' / f'instances_{split}.json'
    path.write_text(
        json.dumps(
            header
            | {'categories': content['categories']}
            | {'images': images, 'annotations': annotations}
        )
    )


def write_dataset(
    root: Path, source: Path, contents: dict[str, dict[str, Any]]
) -> None:
    """Write both splits under the new folder ``root``."""
    (root / 'annotations').mkdir(parents=True)
    for split, content in contents.items():
        (root / 'images' / split).mkdir(parents=True)
        (root / 'labels' / split).mkdir(parents=True)
        write_split(root, split, source / FOLDERS[split], content)


def main() -> None:
    source, out = parse_args(__doc__, NAME, 'data/facade')
    contents = {
        split: read_split(source / folder) for split, folder in FOLDERS.items()
    }
    config = {
        split: len(content['images']) for split, content in contents.items()
    }
    write = partial(write_dataset, source=source, contents=contents)
    make(out, config | {'format': FORMAT}, MARKER, write)


if __name__ == '__main__':
    main()
