# Copyright (c) mmnorm contributors. All rights reserved.
"""The mini COCO is what mmdet expects, repeatable and kept."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from PIL import Image
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from tests.conftest import Main
from tests.paths import ROOT

from .second_run import assert_stays

COUNTS = {'train': 6, 'val': 3}
TOOL = 'make_mini_coco'
SIZES = ('--train', 6, '--val', 3, '--size', 64)
FILE = ROOT / f'tools/dataset_converters/{TOOL}.py'


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, FILE, *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
    )


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob('*')
        if path.is_file()
    }


def index(root: Path, split: str) -> COCO:
    return COCO(root / 'annotations' / f'instances_{split}2017.json')


def test_layout(dataset: Path) -> None:
    assert {path.name for path in dataset.iterdir()} == {
        'annotations',
        'mini_coco.json',
        'train2017',
        'val2017',
    }
    assert list(dataset.parent.iterdir()) == [dataset]
    for split, count in COUNTS.items():
        images = index(dataset, split).dataset['images']
        files = sorted(path.name for path in dataset.glob(f'{split}2017/*'))
        assert files == [f'{image["id"]:012}.jpg' for image in images]
        assert files == [image['file_name'] for image in images]
        assert len(files) == count
        with Image.open(dataset / f'{split}2017' / files[0]) as image:
            assert image.size == (64, 64)
            assert image.mode == 'RGB'


def test_is_repeatable(dataset: Path, main: Main, tmp_path: Path) -> None:
    again = tmp_path / 'deep' / 'again'
    main(again, *SIZES)
    assert contents(again) == contents(dataset)


def test_seed_matters(dataset: Path, main: Main, tmp_path: Path) -> None:
    main(tmp_path / 'other', *SIZES, '--seed', 1)
    name = 'train2017/000000000001.jpg'
    assert contents(tmp_path / 'other')[name] != contents(dataset)[name]


def test_empty_folder_is_filled(main: Main, tmp_path: Path) -> None:
    main(tmp_path, *SIZES)
    assert (tmp_path / 'mini_coco.json').is_file()


@pytest.mark.parametrize('split', COUNTS)
def test_annotations_agree_with_their_masks(dataset: Path, split: str) -> None:
    coco = index(dataset, split)
    for image in coco.dataset['images']:
        taken = np.zeros((image['height'], image['width']), int)
        for annotation in coco.imgToAnns[image['id']]:
            mask = coco.annToMask(annotation)
            rows, columns = np.nonzero(mask)
            assert annotation['area'] == mask.sum() > 0
            assert annotation['bbox'] == [
                columns.min(),
                rows.min(),
                np.ptp(columns) + 1,
                np.ptp(rows) + 1,
            ]
            assert annotation['category_id'] in coco.cats
            taken += mask
        assert taken.max() <= 1


@pytest.mark.parametrize('split', COUNTS)
def test_one_crowd_and_one_empty_image(dataset: Path, split: str) -> None:
    coco = index(dataset, split)
    per_image = [len(coco.imgToAnns[image]) for image in coco.imgs]
    assert per_image.count(0) == 1
    assert min(set(per_image) - {0}) >= 3
    crowds = [ann for ann in coco.anns.values() if ann['iscrowd']]
    assert len(crowds) == 1
    assert isinstance(crowds[0]['segmentation']['counts'], list)
    for annotation in coco.anns.values():
        if not annotation['iscrowd']:
            assert all(len(part) >= 6 for part in annotation['segmentation'])


def test_splits_share_nothing(dataset: Path, module: ModuleType) -> None:
    train, val = (index(dataset, split) for split in COUNTS)
    assert not train.imgs.keys() & val.imgs.keys()
    assert not train.anns.keys() & val.anns.keys()
    assert train.cats == val.cats
    train, val = (module.load_sources(split) for split in COUNTS)
    assert len(train.digits) + len(val.digits) == 1797
    for left, right in zip(train.photos, val.photos, strict=True):
        assert left.shape[1] + right.shape[1] == 640
    assert set(train.labels) == set(val.labels) == set(range(10))


def test_polygons_and_run_lengths_are_exact(module: ModuleType) -> None:
    rng = np.random.default_rng(0)
    # Noise has holes, islands in holes and single pixels.
    for _ in range(200):
        mask = rng.random((9, 12)) < rng.uniform(0.1, 0.95)
        mask[4, 4] = True
        parts = mask_utils.frPyObjects(module.polygons(mask), 9, 12)
        decoded = mask_utils.decode(mask_utils.merge(parts))
        np.testing.assert_array_equal(decoded, mask)
        rle = mask_utils.frPyObjects(module.run_lengths(mask), 9, 12)
        np.testing.assert_array_equal(mask_utils.decode(rle), mask)


def test_scene_may_be_wide(module: ModuleType) -> None:
    sources = module.load_sources('val')
    rng = np.random.default_rng(0)
    image, instances = module.compose(sources, rng, (64, 128), 5)
    assert image.shape == (64, 128, 3)
    assert image.dtype == np.uint8
    assert [instance.mask.shape for instance in instances] == [(64, 128)] * 5


def test_second_run_changes_nothing(
    dataset: Path, main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_stays(dataset, lambda: main(dataset, *SIZES), capsys)


def test_refusal_is_one_line_and_status_1(dataset: Path) -> None:
    refusal = run(dataset, *SIZES, '--seed', 1)
    assert refusal.returncode == 1
    assert refusal.stderr == (
        f'{dataset} has seed 0, not 1; remove it or name another folder.\n'
    )


def spoil(out: Path, how: str) -> None:
    marker = out / 'mini_coco.json'
    if how == 'strange':
        marker.unlink()
    elif how == 'other size':
        config = json.loads(marker.read_text()) | {'size': 96}
        marker.write_text(json.dumps(config))
    elif how == 'damaged':
        marker.write_text('{')
    elif how == 'changed':
        (out / 'train2017' / 'mine.txt').touch()


@pytest.mark.parametrize(
    ('how', 'reason'),
    [
        ('strange', 'holds other files (annotations)'),
        ('other size', 'has size 96, not 64'),
        ('damaged', 'is damaged'),
        ('changed', 'was changed'),
    ],
)
def test_refuses_to_overwrite(
    dataset: Path, main: Main, tmp_path: Path, how: str, reason: str
) -> None:
    out = tmp_path / 'data'
    for name, content in contents(dataset).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    spoil(out, how)
    before = contents(out)
    with pytest.raises(SystemExit, match=re.escape(reason)) as refusal:
        main(out, *SIZES)
    assert str(refusal.value).startswith(f'{out}')
    assert contents(out) == before


def test_interrupted_run_leaves_nothing(
    main: Main,
    module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def interrupt(instance: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, 'annotate', interrupt)
    with pytest.raises(KeyboardInterrupt):
        main(tmp_path / 'data', *SIZES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        (['--train', 0], '--train is 0; give 2 or more.'),
        (['--val', -1], '--val is -1; give 2 or more.'),
        (['--size', 63], '--size is 63; give 64 or more.'),
        (['--seed', -1], '--seed is -1; give 0 or more.'),
    ],
)
def test_bad_numbers(
    main: Main, tmp_path: Path, arguments: list[object], reason: str
) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(tmp_path / 'data', *arguments)
    assert refusal.value.code == reason
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('name', 'reason'),
    [('file', 'is a file'), ('file/data', "File exists: '.*/file'")],
)
def test_file_in_the_way(
    main: Main, tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(SystemExit, match=reason) as refusal:
        main(tmp_path / name, *SIZES)
    assert f'{tmp_path / name}' in str(refusal.value)
    assert (tmp_path / 'file').read_bytes() == b''


def test_mmdet_loads_it(dataset: Path, module: ModuleType) -> None:
    for split, count in COUNTS.items():
        loaded = CocoDataset(
            data_root=str(dataset),
            ann_file=f'annotations/instances_{split}2017.json',
            data_prefix={'img': f'{split}2017/'},
            metainfo={'classes': module.NAMES},
            filter_cfg={'filter_empty_gt': True},
        )
        assert len(loaded) == count - 1
        instances = [
            instance for item in loaded for instance in item['instances']
        ]
        assert sum(instance['ignore_flag'] for instance in instances) == 1
        assert {i['bbox_label'] for i in instances} <= set(range(10))
        assert all(Path(item['img_path']).is_file() for item in loaded)
