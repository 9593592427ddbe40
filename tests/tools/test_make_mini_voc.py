# Copyright (c) mmnorm contributors. All rights reserved.
"""The mini VOC is what mmseg expects, repeatable and kept."""

from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from mmseg.datasets import PascalVOCDataset
from PIL import Image

from tests.conftest import Main

from .second_run import assert_stays
from .test_make_mini_coco import contents

COUNTS = {'train': 3, 'aug': 4, 'trainaug': 7, 'val': 3}
TOOL = 'make_mini_voc'
SIZES = ('--train', 7, '--val', 3)
VOID = 255


def names(dataset: Path, split: str) -> list[str]:
    lists = dataset / 'VOCdevkit/VOC2012/ImageSets/Segmentation'
    return (lists / f'{split}.txt').read_text().splitlines()


def load(dataset: Path, split: str, folder: str) -> PascalVOCDataset:
    return PascalVOCDataset(
        ann_file=f'ImageSets/Segmentation/{split}.txt',
        data_root=str(dataset / 'VOCdevkit/VOC2012'),
        data_prefix={'img_path': 'JPEGImages', 'seg_map_path': folder},
        pipeline=[
            {'type': 'mmseg.LoadImageFromFile'},
            {'type': 'mmseg.LoadAnnotations'},
        ],
    )


def test_layout(dataset: Path) -> None:
    base = dataset / 'VOCdevkit/VOC2012'
    assert {path.name for path in base.iterdir()} == {
        'ImageSets',
        'JPEGImages',
        'SegmentationClass',
        'SegmentationClassAug',
    }
    assert {split: len(names(dataset, split)) for split in COUNTS} == COUNTS
    train, aug, trainaug, val = (names(dataset, split) for split in COUNTS)
    assert train + aug == trainaug
    assert not set(trainaug) & set(val)
    modes = {
        'JPEGImages': 'RGB',
        'SegmentationClass': 'P',
        'SegmentationClassAug': 'L',
    }
    for folder, mode in modes.items():
        files = sorted((base / folder).iterdir())
        assert [path.stem for path in files] == trainaug + val
        for path in files:
            with Image.open(path) as image:
                assert (image.size, image.mode) == ((160, 160), mode)


def test_palette_is_that_of_voc(dataset: Path, module: ModuleType) -> None:
    name = f'VOCdevkit/VOC2012/SegmentationClass/{names(dataset, "val")[0]}'
    with Image.open(dataset / f'{name}.png') as image:
        assert image.getpalette() == module.palette()
    colors = np.reshape(module.palette(), (256, 3)).tolist()
    assert colors[:21] == PascalVOCDataset.METAINFO['palette']
    assert colors[VOID] == [224, 224, 192]


def test_is_repeatable(dataset: Path, main: Main, tmp_path: Path) -> None:
    main(tmp_path / 'again', *SIZES)
    assert contents(tmp_path / 'again') == contents(dataset)
    main(tmp_path / 'other', *SIZES, '--seed', 1)
    name = 'VOCdevkit/VOC2012/JPEGImages/2012_000001.jpg'
    assert contents(tmp_path / 'other')[name] != contents(dataset)[name]


def test_second_run_changes_nothing(
    dataset: Path, main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_stays(dataset, lambda: main(dataset, *SIZES), capsys)


def test_refuses_to_overwrite(dataset: Path, main: Main) -> None:
    with pytest.raises(SystemExit, match='has train 7, not 6; remove it'):
        main(dataset, '--train', 6, '--val', 3)


@pytest.mark.parametrize('split', COUNTS)
def test_mmseg_loads_it(dataset: Path, split: str) -> None:
    strict = load(dataset, split, 'SegmentationClass')
    plain = load(dataset, split, 'SegmentationClassAug')
    assert len(strict) == len(plain) == COUNTS[split]
    for left, right in zip(strict, plain, strict=True):
        labels, whole = left['gt_seg_map'], right['gt_seg_map']
        assert left['img'].shape == (160, 160, 3)
        assert whole.max() <= 10
        assert set(np.unique(labels)) <= {*range(11), VOID}
        known = labels != VOID
        np.testing.assert_array_equal(labels[known], whole[known])
        # A void border lies between any two classes.
        wide = cv2.dilate(np.where(known, labels, 0), np.ones((3, 3)))
        inside = known & (labels > 0)
        np.testing.assert_array_equal(labels[inside], wide[inside])
        assert not (wide > 0)[known & (labels == 0)].any()


def test_heap_is_void(dataset: Path) -> None:
    for split in ('trainaug', 'val'):
        shares = [
            (item['gt_seg_map'] == VOID).mean()
            for item in load(dataset, split, 'SegmentationClass')
        ]
        assert min(shares) == 0
        assert sorted(shares)[-1] > 1.2 * sorted(shares)[-2]
