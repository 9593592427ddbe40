# Copyright (c) mmnorm contributors. All rights reserved.
"""Make a small real data set in the layout of Cityscapes, for mmdet too."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.helpers.labels import labels
from cityscapesscripts.preparation.json2instanceImg import createInstanceImage
from cityscapesscripts.preparation.json2labelImg import createLabelImage
from dataset_folder import make
from make_mini_coco import bridge
from mini_dataset import draws, parse_args
from mini_scenes import Instance, compose, load_sources
from PIL import Image
from pycocotools import mask as mask_utils

FORMAT = 3
MARKER = 'mini_cityscapes.json'
CITIES = {'train': 'minitown', 'val': 'miniburg'}
STUFF = ('building', 'vegetation')
"""The classes of the two photographs, which show a palace and a flower."""
CATEGORIES = [
    {'id': label.id, 'name': label.name}
    for label in labels
    if label.hasInstances and not label.ignoreInEval
]
NAMES = (
    *(category['name'] for category in CATEGORIES),
    *('traffic light', 'traffic sign'),
)
"""The classes of the digits 0 to 9."""


def outline(mask: np.ndarray) -> list[list[int]]:
    """Outline a mask by one ring; Cityscapes has one ring per object."""
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE
    )
    ring, *others = (contour.reshape(-1, 2) for contour in contours)
    for other in others:
        ring = bridge(ring, other)
    return ring.tolist()


def list_objects(
    stuff: str, instances: list[Instance], shape: tuple[int, int]
) -> list[dict[str, Any]]:
    """List the objects of an image, in the order of painting."""
    objects = [{'label': stuff, 'polygon': outline(np.ones(shape))}]
    for category, mask, crowd in instances:
        label = 'cargroup' if crowd else NAMES[category]
        objects.append({'label': label, 'polygon': outline(mask)})
    return objects


def write_truth(
    stem: Path, objects: list[dict[str, Any]], shape: tuple[int, int]
) -> None:
    """Write the polygons, and the label images that follow from polygons."""
    content = {'imgHeight': shape[0], 'imgWidth': shape[1]}
    text = json.dumps(content | {'objects': objects})
    Path(f'{stem}_polygons.json').write_text(text)
    annotation = Annotation()
    annotation.fromJsonText(text)
    createLabelImage(annotation, 'ids').save(f'{stem}_labelIds.png')
    train_ids = createLabelImage(annotation, 'trainIds')
    train_ids.save(f'{stem}_labelTrainIds.png')
    # Cityscapes' own json2instanceImg saves 32 bits, which Pillow 13 refuses.
    instances = createInstanceImage(annotation, 'ids').convert('I;16')
    instances.save(f'{stem}_instanceIds.png')


def annotate(stem: Path) -> list[dict[str, Any]]:
    """Describe the instances of an image, as mmdet's converter does."""
    with Image.open(f'{stem}_instanceIds.png') as image:
        ids = np.asarray(image)
    annotations = []
    for value in np.unique(ids[ids >= CATEGORIES[0]['id']]).tolist():
        # An instance has a number of four or more digits, a group has the id
        # of its class.
        crowd = value < 1000
        rle = mask_utils.encode(np.asfortranarray(ids == value, np.uint8))
        annotation = {
            'iscrowd': int(crowd),
            'category_id': value if crowd else value // 1000,
            'bbox': mask_utils.toBbox(rle).tolist(),
            'area': int(mask_utils.area(rle)),
            'segmentation': rle | {'counts': rle['counts'].decode()},
        }
        annotations.append(annotation)
    return annotations


def write_dataset(root: Path, config: dict[str, int]) -> None:
    """Write both splits under the new folder ``root``."""
    height, width = shape = (config['height'], 2 * config['height'])
    (root / 'annotations').mkdir(parents=True)
    for split, city in CITIES.items():
        sources = load_sources(split)
        folder = root / 'leftImg8bit' / split
        truth = root / 'gtFine' / split
        (folder / city).mkdir(parents=True)
        (truth / city).mkdir(parents=True)
        images, annotations = [], []
        for index, (rng, count, heap) in enumerate(draws(split, config)):
            photo = rng.integers(len(STUFF))
            chosen = sources._replace(
                photos=[sources.photos[photo]], colored=True
            )
            image, instances = compose(chosen, rng, shape, count, heap)
            name = f'{city}/{city}_{index:06}_000019'
            file_name = f'{name}_leftImg8bit.png'
            Image.fromarray(image).save(folder / file_name)
            stem = truth / f'{name}_gtFine'
            objects = list_objects(STUFF[photo], instances, shape)
            write_truth(stem, objects, shape)
            entry = {'id': index, 'file_name': file_name}
            entry |= {'height': height, 'width': width}
            entry['segm_file'] = f'{name}_gtFine_labelIds.png'
            images.append(entry)
            for annotation in annotate(stem):
                ids = {'id': len(annotations) + 1, 'image_id': index}
                annotations.append(ids | annotation)
        content = {'images': images, 'categories': CATEGORIES}
        content['annotations'] = annotations
        name = f'instancesonly_filtered_gtFine_{split}.json'
        (root / 'annotations' / name).write_text(json.dumps(content))


def main() -> None:
    defaults = {'train': 400, 'val': 40, 'height': 128, 'seed': 0}
    out, config = parse_args(__doc__, 'data/mini_cityscapes', defaults)
    numbers = config | {'format': FORMAT}
    make(out, numbers, MARKER, partial(write_dataset, config=config))


if __name__ == '__main__':
    main()
