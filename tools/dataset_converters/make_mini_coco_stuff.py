# Copyright (c) mmnorm contributors. All rights reserved.
"""Make a small real data set in the layout of COCO-Stuff 164k."""

from functools import partial
from pathlib import Path

import numpy as np
from dataset_folder import make
from mini_dataset import SPLITS, draws, parse_args
from mini_scenes import compose, load_sources
from PIL import Image

FORMAT = 1
MARKER = 'mini_coco_stuff.json'
SHAPE = (160, 160)
STUFF = {'building-other': 84, 'flower': 107}
"""Train ids of the two photographs; the digits are the ids 0 to 9."""


def write_dataset(root: Path, config: dict[str, int]) -> None:
    """Write both splits under the new folder ``root``."""
    number = 0
    for split in SPLITS:
        sources = load_sources(split)
        images = root / 'images' / f'{split}2017'
        annotations = root / 'annotations' / f'{split}2017'
        images.mkdir(parents=True)
        annotations.mkdir(parents=True)
        for rng, count, heap in draws(split, config):
            photo = rng.integers(len(STUFF))
            chosen = sources._replace(photos=[sources.photos[photo]])
            image, instances = compose(chosen, rng, SHAPE, count, heap)
            labels = np.full(SHAPE, list(STUFF.values())[photo], np.uint8)
            for instance in instances:
                labels[instance.mask] = instance.category
            number += 1
            name = f'{number:012}'
            Image.fromarray(image).save(images / f'{name}.jpg', quality=95)
            Image.fromarray(labels).save(
                annotations / f'{name}_labelTrainIds.png'
            )


def main() -> None:
    defaults = {'train': 160, 'val': 40, 'seed': 0}
    out, config = parse_args(__doc__, 'data/mini_coco_stuff', defaults)
    numbers = config | {'format': FORMAT}
    make(out, numbers, MARKER, partial(write_dataset, config=config))


if __name__ == '__main__':
    main()
