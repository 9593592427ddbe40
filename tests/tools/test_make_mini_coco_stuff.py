# Copyright (c) mmnorm contributors. All rights reserved.
"""The mini COCO-Stuff is what mmseg expects, repeatable and kept."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mmseg.datasets import COCOStuffDataset
from PIL import Image

from tests.conftest import Main

from .second_run import assert_stays
from .test_make_mini_coco import contents

COUNTS = {'train': 6, 'val': 3}
TOOL = 'make_mini_coco_stuff'
SIZES = ('--train', 6, '--val', 3)


def load(dataset: Path, split: str) -> COCOStuffDataset:
    return COCOStuffDataset(
        data_root=str(dataset),
        data_prefix={
            'img_path': f'images/{split}2017',
            'seg_map_path': f'annotations/{split}2017',
        },
        pipeline=[
            {'type': 'mmseg.LoadImageFromFile'},
            {'type': 'mmseg.LoadAnnotations'},
        ],
    )


def test_layout(dataset: Path) -> None:
    assert {path.name for path in dataset.iterdir()} == {
        'annotations',
        'images',
        'mini_coco_stuff.json',
    }
    for split, count in COUNTS.items():
        images = sorted(dataset.glob(f'images/{split}2017/*'))
        maps = sorted(dataset.glob(f'annotations/{split}2017/*'))
        assert len(images) == len(maps) == count
        for image, labels in zip(images, maps, strict=True):
            assert labels.name == f'{image.stem}_labelTrainIds.png'
            with Image.open(image) as left, Image.open(labels) as right:
                assert left.size == right.size == (160, 160)
                assert (left.mode, right.mode) == ('RGB', 'L')


def test_is_repeatable(dataset: Path, main: Main, tmp_path: Path) -> None:
    main(tmp_path / 'again', *SIZES)
    assert contents(tmp_path / 'again') == contents(dataset)
    main(tmp_path / 'other', *SIZES, '--seed', 1)
    name = 'images/train2017/000000000001.jpg'
    assert contents(tmp_path / 'other')[name] != contents(dataset)[name]


def test_second_run_changes_nothing(
    dataset: Path, main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_stays(dataset, lambda: main(dataset, *SIZES), capsys)


def test_refuses_to_overwrite(dataset: Path, main: Main) -> None:
    with pytest.raises(SystemExit, match='has train 6, not 7; remove it'):
        main(dataset, '--train', 7, '--val', 3)


def test_mmseg_loads_it(dataset: Path, module: ModuleType) -> None:
    stuff = set(module.STUFF.values())
    seen = set()
    for split, count in COUNTS.items():
        loaded = load(dataset, split)
        assert len(loaded) == count
        found = []
        for item in loaded:
            assert item['img'].shape == (160, 160, 3)
            ids = set(np.unique(item['gt_seg_map']).tolist())
            assert len(ids & stuff) == 1
            assert ids - stuff <= set(range(10))
            found.append(ids)
        assert sum(ids <= stuff for ids in found) == 1
        seen.update(*found)
    assert stuff < seen


def test_ids_are_those_of_mmseg(module: ModuleType) -> None:
    classes = COCOStuffDataset.METAINFO['classes']
    assert len(classes) == 171
    assert {name: classes.index(name) for name in module.STUFF} == module.STUFF
