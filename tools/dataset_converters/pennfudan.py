# Copyright (c) mmnorm contributors. All rights reserved.
"""Convert the Penn-Fudan pedestrians to COCO's format.

PennFudanPed.zip is at cis.upenn.edu/~jshi/ped_html. Every fifth photograph
goes to the validation split.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from dataset_folder import make
from PIL import Image
from pycocotools import mask as mask_utils
from source_files import list_pictures, parse_args, read_labels, read_photo
from tqdm import tqdm

FORMAT = 1
MARKER = 'pennfudan.json'
CATEGORIES = [{'id': 1, 'name': 'person'}]
VAL_SHARE = 5
LONG_SIDE = 640
QUALITY = 92


def is_val(image_id: int) -> bool:
    return image_id % VAL_SHARE == 0


def shrink(
    photo: np.ndarray, people: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Resize a photograph and its mask to the longest side to keep."""
    height, width = people.shape
    scale = LONG_SIDE / max(height, width)
    if scale >= 1:
        return photo, people
    size = round(scale * width), round(scale * height)
    return (
        cv2.resize(photo, size, interpolation=cv2.INTER_AREA),
        cv2.resize(people, size, interpolation=cv2.INTER_NEAREST),
    )


def annotate(mask: np.ndarray) -> dict[str, Any]:
    """Describe a person; area and box follow from the mask."""
    rle = mask_utils.encode(np.asfortranarray(mask, np.uint8))
    return {
        'category_id': CATEGORIES[0]['id'],
        'iscrowd': 0,
        'segmentation': rle | {'counts': rle['counts'].decode()},
        'bbox': mask_utils.toBbox(rle).tolist(),
        'area': float(mask_utils.area(rle)),
    }


def write_dataset(root: Path, source: Path, photos: list[Path]) -> None:
    """Write both splits under the new folder ``root``."""
    (root / 'annotations').mkdir(parents=True)
    (root / 'images').mkdir()
    contents = {
        split: {'images': [], 'annotations': [], 'categories': CATEGORIES}
        for split in ('train', 'val')
    }
    annotation_id = 0
    for image_id, path in enumerate(tqdm(photos, disable=None), 1):
        photo = read_photo(path)
        mask = source / 'PedMasks' / f'{path.stem}_mask.png'
        photo, people = shrink(photo, read_labels(mask, photo.shape[:2]))
        name = f'{path.stem}.jpg'
        Image.fromarray(photo).save(root / 'images' / name, quality=QUALITY)
        content = contents['val' if is_val(image_id) else 'train']
        height, width = people.shape
        entry = {'id': image_id, 'file_name': name}
        content['images'].append(entry | {'height': height, 'width': width})
        for person in np.unique(people[people > 0]):
            annotation_id += 1
            ids = {'id': annotation_id, 'image_id': image_id}
            content['annotations'].append(ids | annotate(people == person))
    for split, content in contents.items():
        path = root / 'annotations' / f'instances_{split}.json'
        path.write_text(json.dumps(content))


def main() -> None:
    name = 'PennFudanPed'
    source, out = parse_args(__doc__, name, 'data/pennfudan')
    photos = list_pictures(source / 'PNGImages', name)
    val = len(photos) // VAL_SHARE
    config = {'train': len(photos) - val, 'val': val, 'format': FORMAT}
    write = partial(write_dataset, source=source, photos=photos)
    make(out, config, MARKER, write)


if __name__ == '__main__':
    main()
