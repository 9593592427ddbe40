# Copyright (c) mmnorm contributors. All rights reserved.
"""The mini ImageNet is what mmpretrain expects, repeatable and kept."""

import shutil
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mmpretrain.datasets import ImageNet
from PIL import Image

from tests.conftest import Main

from .second_run import assert_stays
from .test_make_mini_coco import contents

COUNTS = {'train': 30, 'val': 20}
TOOL = 'make_mini_imagenet'
SIZES = ('--train', 30, '--val', 20, '--size', 64)
DIGITS = tuple('0123456789')


def load(dataset: Path, split: str) -> ImageNet:
    return ImageNet(
        data_root=str(dataset),
        split=split,
        metainfo={'classes': DIGITS},
        pipeline=[{'type': 'mmpretrain.LoadImageFromFile'}],
    )


def test_layout(dataset: Path) -> None:
    assert {path.name for path in dataset.iterdir()} == {
        'meta',
        'mini_imagenet.json',
        'train',
        'val',
    }
    for split, count in COUNTS.items():
        files = sorted(dataset.glob(f'{split}/*/*.JPEG'))
        assert len(files) == count
        lines = (dataset / f'meta/{split}.txt').read_text().splitlines()
        listed = [line.split(' ')[0] for line in lines]
        base = dataset / split
        assert sorted(listed) == [str(f.relative_to(base)) for f in files]
        for path in files:
            with Image.open(path) as image:
                assert (image.size, image.mode) == ((64, 64), 'RGB')


@pytest.mark.parametrize('split', COUNTS)
@pytest.mark.parametrize('is_listed', [True, False])
def test_mmpretrain_loads_it(
    dataset: Path, tmp_path: Path, split: str, is_listed: bool
) -> None:
    root = tmp_path / 'imagenet'
    shutil.copytree(dataset, root)
    if not is_listed:  # then the folders tell the classes
        shutil.rmtree(root / 'meta')
    loaded = load(root, split)
    labels = Counter(item['gt_label'] for item in loaded)
    assert labels == dict.fromkeys(range(10), COUNTS[split] // 10)
    for item in loaded:
        folder = Path(item['img_path']).parent.name
        assert folder == f'n{item["gt_label"]:08}'
        assert item['img'].shape == (64, 64, 3)


def test_each_class_shows_its_digit(module: ModuleType) -> None:
    whole = module.load_sources('val')
    for digit in range(10):
        same = module.only(whole, digit)
        assert set(same.labels) == {digit}
        assert len(same.digits) == (whole.labels == digit).sum()


@pytest.mark.parametrize('corner', [(0, 0), (150, 0), (0, 150), (150, 150)])
def test_digit_is_in_the_square(module: ModuleType, corner) -> None:
    mask = np.zeros(module.SCENE, bool)
    x, y = corner
    mask[y : y + 10, x : x + 4] = True
    square = np.asarray(module.cut_out(mask.astype(np.uint8), mask))
    assert square.shape == (15, 15)
    assert square.sum() == 40


def test_is_repeatable(dataset: Path, main: Main, tmp_path: Path) -> None:
    main(tmp_path / 'again', *SIZES)
    assert contents(tmp_path / 'again') == contents(dataset)
    main(tmp_path / 'other', *SIZES, '--seed', 1)
    name = 'val/n00000000/val_000000.JPEG'
    assert contents(tmp_path / 'other')[name] != contents(dataset)[name]


def test_second_run_changes_nothing(
    dataset: Path, main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_stays(dataset, lambda: main(dataset, *SIZES), capsys)
