# Copyright (c) mmnorm contributors. All rights reserved.
"""Make a small real data set in the layout of VOC2012 with its aug split.

Half of the training images, rounded down, are the train split of VOC. The rest
is the aug split.
"""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
from dataset_folder import make
from mini_dataset import SPLITS, draws, parse_args
from mini_scenes import Instance, compose, load_sources
from PIL import Image

FORMAT = 1
MARKER = 'mini_voc.json'
SHAPE = (160, 160)
VOID = 255


def palette() -> list[int]:
    """Compute VOC's 256 colors: the bits of an id in turn go to R, G, B."""
    ids = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = ids >> (3 * place + channel) & 1
            colors[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return colors.ravel().tolist()


def draw(instances: list[Instance], void: bool) -> Image.Image:
    """Draw the class of each pixel: the digit plus one, or 0.

    Args:
        instances: The instances, from bottom to top.
        void: Whether borders and the heap are void, as in VOC; the aug split
            has no void.
    """
    labels = np.zeros(SHAPE, np.uint8)
    for category, mask, crowd in instances:
        if void:
            wide = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3)))
            labels[wide > 0] = VOID
        labels[mask] = VOID if void and crowd else category + 1
    return Image.fromarray(labels)


def write_dataset(root: Path, config: dict[str, int]) -> None:
    """Write all splits under the new folder ``root``."""
    base = root / 'VOCdevkit' / 'VOC2012'
    images = base / 'JPEGImages'
    classes = base / 'SegmentationClass'
    augmented = base / 'SegmentationClassAug'
    lists = base / 'ImageSets' / 'Segmentation'
    for folder in (images, classes, augmented, lists):
        folder.mkdir(parents=True)
    names = []
    for split in SPLITS:
        sources = load_sources(split)
        for rng, count, heap in draws(split, config):
            image, instances = compose(sources, rng, SHAPE, count, heap)
            names.append(f'2012_{len(names) + 1:06}')
            path = images / f'{names[-1]}.jpg'
            Image.fromarray(image).save(path, quality=95)
            colored = draw(instances, void=True)
            colored.putpalette(palette())
            colored.save(classes / f'{names[-1]}.png')
            plain = draw(instances, void=False)
            plain.save(augmented / f'{names[-1]}.png')
    half, whole = config['train'] // 2, config['train']
    for split, members in {
        'train': names[:half],
        'aug': names[half:whole],
        'trainaug': names[:whole],
        'val': names[whole:],
    }.items():
        text = ''.join(f'{name}\n' for name in members)
        (lists / f'{split}.txt').write_text(text)


def main() -> None:
    defaults = {'train': 160, 'val': 40, 'seed': 0}
    out, config = parse_args(__doc__, 'data/mini_voc', defaults)
    numbers = config | {'format': FORMAT}
    make(out, numbers, MARKER, partial(write_dataset, config=config))


if __name__ == '__main__':
    main()
