# Copyright (c) mmnorm contributors. All rights reserved.
"""Make a small real data set in the layout of ImageNet.

Each image shows one large digit on a photograph, and the classes are the
digits.
"""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
from dataset_folder import make
from mini_dataset import SPLITS, parse_args
from mini_scenes import Sources, compose, load_sources
from PIL import Image
from tqdm import tqdm

FORMAT = 1
MARKER = 'mini_imagenet.json'
DIGITS = 10
SCENE = (160, 160)
MARGIN = 0.25
"""The photograph around a digit, in parts of the digit's longer side."""


def only(sources: Sources, digit: int) -> Sources:
    """Return the sources with the samples of a single digit."""
    same = sources.labels == digit
    return sources._replace(
        digits=sources.digits[same], labels=sources.labels[same]
    )


def cut_out(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """Return the square of an image that a digit fills."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    side = min(round((1 + 2 * MARGIN) * max(width, height)), *mask.shape)
    x = np.clip(left + (width - side) // 2, 0, mask.shape[1] - side)
    y = np.clip(top + (height - side) // 2, 0, mask.shape[0] - side)
    return Image.fromarray(image[y : y + side, x : x + side])


def folder_name(digit: int) -> str:
    """Return the folder of a class; sorted names give the class ids."""
    return f'n{digit:08}'


def write_dataset(root: Path, config: dict[str, int]) -> None:
    """Write all splits and their lists under the new folder ``root``."""
    size = (config['size'], config['size'])
    (root / 'meta').mkdir(parents=True)
    for split in SPLITS:
        whole = load_sources(split)
        sources = [only(whole, digit) for digit in range(DIGITS)]
        for digit in range(DIGITS):
            (root / split / folder_name(digit)).mkdir(parents=True)
        rng = np.random.default_rng((config['seed'], SPLITS.index(split)))
        lines = []
        for index in tqdm(range(config[split]), split, disable=None):
            digit = index % DIGITS
            image, (instance,) = compose(sources[digit], rng, SCENE, 1)
            name = f'{folder_name(digit)}/{split}_{index:06}.JPEG'
            picture = cut_out(image, instance.mask).resize(size)
            picture.save(root / split / name, quality=95)
            lines.append(f'{name} {digit}\n')
        (root / 'meta' / f'{split}.txt').write_text(''.join(lines))


def main() -> None:
    defaults = {'train': 1000, 'val': 300, 'size': 64, 'seed': 0}
    out, config = parse_args(__doc__, 'data/mini_imagenet', defaults)
    numbers = config | {'format': FORMAT}
    make(out, numbers, MARKER, partial(write_dataset, config=config))


if __name__ == '__main__':
    main()
