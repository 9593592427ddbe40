# Copyright (c) mmnorm contributors. All rights reserved.
"""Check files and folders of a data set without loading all of them.

Each function returns a status and details. The status is 'found' for what a
run can use, and otherwise 'missing', 'empty' or 'broken'.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache
from os.path import getsize, isdir, isfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps

OPENED = 20  # files of a folder that are opened

Verdict = tuple[str, str]  # status, details
FileCheck = Callable[[Path], str | None]


class Coco(NamedTuple):
    """The content of an annotation file in COCO's format."""

    files: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]  # width and height
    categories: tuple[str, ...]
    annotations: int
    first_id: int  # of an annotation


def check_file(path: str) -> Verdict:
    """Check that a file is there and holds something.

    Args:
        path: The file.
    """
    if not isfile(path):
        return 'missing', ''
    return ('found', '') if getsize(path) else ('empty', '0 bytes')


def check_folder(
    path: str,
    files: list[Path] | None = None,
    check: FileCheck | None = None,
) -> Verdict:
    """Check that a folder holds its files, and open a few of the files.

    Args:
        path: The folder.
        files: The files, or None if nothing says which files there are.
        check: Returns what is wrong with a file, or None.
    """
    if not isdir(path):
        return 'missing', ''
    if files is None:
        return 'found', ''
    if not files:
        return 'empty', 'no file of the right name'
    absent = [file for file in files if not file.is_file()]
    if absent:
        return 'missing', f'{len(absent)} of {len(files)}: {absent[0].name}'
    for file in files[:OPENED]:
        try:
            fault = check(file)
        except (OSError, SyntaxError, ValueError):  # Pillow raises them
            fault = 'is not an image, or is truncated'
        if fault:
            return 'broken', f'{file.name} {fault}'
    return 'found', f'{len(files)} files'


def check_image(file: Path, size: tuple[int, int] | None = None) -> str | None:
    """Decode an image, and return what is wrong with it, or None.

    Args:
        file: The image.
        size: Width and height that it has to have as mmcv loads it: turned
            as its EXIF data say.

    Raises:
        OSError: If the file is not an image or is truncated. Pillow raises
            SyntaxError and ValueError for some such files.
    """
    with Image.open(file) as image:
        image.load()
        if size is None:
            return None
        found = ImageOps.exif_transpose(image).size
    if found != size:
        words = '{} x {}'
        return (
            f'has {words.format(*found)} pixels, and not '
            f'{words.format(*size)}: EXIF data may turn it'
        )
    return None


def check_coco(path: str, split: str, classes: Sequence[str] = ()) -> Verdict:
    """Check an annotation file in COCO's format.

    Args:
        path: The file.
        split: 'train', 'val' or 'test'. Images of an evaluation server come
            without annotations, therefore 'test' needs none.
        classes: The classes of the data set.
    """
    status, details = check_file(path)
    if status != 'found':
        return status, details
    try:
        coco = read_coco(path)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        return 'broken', f"not in COCO's format: {error!r}"
    if not coco.files:
        return 'empty', 'no images'
    if not coco.annotations and split != 'test':
        return 'empty', 'no annotations'
    if split != 'train' and coco.first_id == 0:
        # pycocotools takes the id 0 for an object that nothing matches.
        return 'broken', 'an annotation has the id 0: number them from 1'
    details = f'{len(coco.files)} images, {coco.annotations} annotations'
    if not classes:
        return 'found', details
    # mmdet numbers the categories that it knows in the order of the file. The
    # numbers are right only for the first of the classes.
    known = [name for name in coco.categories if name in classes]
    unknown = [name for name in classes if name not in coco.categories]
    if known and known == list(classes[: len(known)]):
        if unknown:
            details += f' of {len(known)} of the {len(classes)} classes'
        return 'found', details
    if unknown:
        names = ', '.join(map(repr, unknown[:3]))
        return 'broken', f'{len(unknown)} classes are no category: {names}'
    order = ', '.join(map(repr, known[:3]))
    return 'broken', f'its categories are, in order, {order}: sort classes so'


@cache  # val, test and their evaluators often name the same large file
def read_coco(path: str) -> Coco:
    """Read an annotation file in COCO's format.

    Args:
        path: The file.
    """
    content = json.loads(Path(path).read_bytes())
    images, annotations = content['images'], content.get('annotations', ())
    # Annotations of panoptic images have other keys.
    boxes = [a for a in annotations if 'segments_info' not in a]
    for box in boxes:  # mmdet reads these
        _, _, _, _ = box['bbox']
        box['area'], box['category_id']
    ids = {box['id'] for box in boxes}
    if len(ids) < len(boxes):
        raise ValueError('two annotations have one id')
    return Coco(
        tuple(map(_file_name, images)),
        tuple((image['width'], image['height']) for image in images),
        tuple(category['name'] for category in content['categories']),
        len(annotations),
        min(ids, default=1),
    )


def _file_name(image: dict) -> str:
    # LVIS has addresses instead of names.
    if 'file_name' not in image and 'coco_url' in image:
        return '/'.join(image['coco_url'].rsplit('/', 2)[1:])
    return image['file_name']
