# Copyright (c) mmnorm contributors. All rights reserved.
"""The mini Cityscapes is what mmdet and mmseg expect, repeatable and kept."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cv2
import mmdet.datasets
import mmseg.datasets
import numpy as np
import pytest
import torch
from cityscapesscripts.helpers.csHelpers import getCsFileInfo
from cityscapesscripts.helpers.labels import id2label, name2label
from mmdet.evaluation import CityScapesMetric
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from tests.conftest import Main

from .second_run import assert_stays
from .test_make_mini_coco import contents

COUNTS = {'train': 6, 'val': 3}
TOOL = 'make_mini_cityscapes'
SIZES = ('--train', 6, '--val', 3, '--height', 64)
TRUTH = ('labelIds', 'labelTrainIds', 'instanceIds', 'polygons')


def index(dataset: Path, split: str) -> COCO:
    name = f'instancesonly_filtered_gtFine_{split}.json'
    return COCO(dataset / 'annotations' / name)


def truth(dataset: Path, split: str) -> Iterator[tuple[dict, list]]:
    """Yield the polygons and the three label images of each image."""
    for path in sorted(dataset.glob(f'gtFine/{split}/*/*_polygons.json')):
        arrays = []
        for kind in TRUTH[:3]:
            name = path.name.replace('polygons.json', f'{kind}.png')
            with Image.open(path.with_name(name)) as image:
                arrays.append(np.asarray(image))
        yield json.loads(path.read_text()), arrays


def test_layout(dataset: Path) -> None:
    assert {path.name for path in dataset.iterdir()} == {
        'annotations',
        'gtFine',
        'leftImg8bit',
        'mini_cityscapes.json',
    }
    for split, count in COUNTS.items():
        images = list(dataset.glob(f'leftImg8bit/{split}/*/*'))
        files = {path.name for path in dataset.glob(f'gtFine/{split}/*/*')}
        assert len(images) == count
        assert len(files) == count * len(TRUTH)
        for path in images:
            info = getCsFileInfo(str(path))
            assert info.city == path.parent.name
            assert (info.type, info.ext) == ('leftImg8bit', 'png')
            stem = f'{info.city}_{info.sequenceNb}_{info.frameNb}_gtFine'
            assert {f'{stem}_{kind}.png' for kind in TRUTH[:3]} < files
            with Image.open(path) as image:
                assert (image.size, image.mode) == ((128, 64), 'RGB')


@pytest.mark.parametrize('split', COUNTS)
def test_labels_are_those_of_cityscapes(
    dataset: Path, module: ModuleType, split: str
) -> None:
    for content, (ids, train_ids, instances) in truth(dataset, split):
        shape = (content['imgHeight'], content['imgWidth'])
        assert ids.shape == train_ids.shape == instances.shape == shape
        assert content['objects'][0]['label'] in module.STUFF
        for value in np.unique(ids):
            label = id2label[value]
            assert not label.ignoreInEval
            assert set(train_ids[ids == value]) == {label.trainId}
            found = instances[ids == value]
            numbered = found >= 1000
            np.testing.assert_array_equal(found[numbered] // 1000, value)
            assert set(found[~numbered]) <= {value}
            assert label.hasInstances or not numbered.any()


@pytest.mark.parametrize('split', COUNTS)
def test_instances_agree(dataset: Path, split: str) -> None:
    coco = index(dataset, split)
    crowds = 0
    pairs = zip(coco.imgs.values(), truth(dataset, split), strict=True)
    for image, (content, (ids, _, instances)) in pairs:
        drawn = Counter()
        for item in content['objects']:
            name = item['label'].removesuffix('group')
            if name2label[name].hasInstances:
                drawn[name2label[name].id, name != item['label']] += 1
        painted = Counter(
            (value, True) if value < 1000 else (value // 1000, False)
            for value in np.unique(instances[instances >= 24]).tolist()
        )
        annotations = coco.imgToAnns[image['id']]
        written = Counter(
            (annotation['category_id'], bool(annotation['iscrowd']))
            for annotation in annotations
        )
        assert drawn == painted == written
        crowds += drawn[name2label['car'].id, True]
        taken = np.zeros_like(ids)
        for annotation in annotations:
            mask = coco.annToMask(annotation)
            assert annotation['area'] == mask.sum()
            assert annotation['bbox'] == list(cv2.boundingRect(mask))
            assert set(ids[mask > 0]) == {annotation['category_id']}
            taken += mask
        np.testing.assert_array_equal(taken, ids >= 24)
    assert crowds == 1


def test_polygons_give_back_the_masks(module: ModuleType) -> None:
    sources = module.load_sources('train')
    rng = np.random.default_rng(0)
    for _ in range(5):
        _, (instance,) = module.compose(sources, rng, (128, 256), 1)
        with Image.new('L', (256, 128)) as image:
            ring = map(tuple, module.outline(instance.mask))
            ImageDraw.Draw(image).polygon(list(ring), fill=1)
            painted = np.asarray(image) > 0
        assert (painted & instance.mask).sum() == instance.mask.sum()
        assert (painted ^ instance.mask).sum() < 0.05 * instance.mask.sum()


def test_is_repeatable(dataset: Path, main: Main, tmp_path: Path) -> None:
    main(tmp_path / 'again', *SIZES)
    assert contents(tmp_path / 'again') == contents(dataset)
    main(tmp_path / 'other', *SIZES, '--seed', 1)
    name = 'leftImg8bit/val/miniburg/miniburg_000000_000019_leftImg8bit.png'
    assert contents(tmp_path / 'other')[name] != contents(dataset)[name]


def test_second_run_changes_nothing(
    dataset: Path, main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_stays(dataset, lambda: main(dataset, *SIZES), capsys)


def test_bad_height(main: Main, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match='--height is 63; give 64 or more.'):
        main(tmp_path / 'data', '--height', 63)
    assert not list(tmp_path.iterdir())


def load(dataset: Path, split: str) -> mmdet.datasets.CityscapesDataset:
    annotations = {'with_bbox': True, 'with_mask': True}
    return mmdet.datasets.CityscapesDataset(
        data_root=str(dataset),
        ann_file=f'annotations/instancesonly_filtered_gtFine_{split}.json',
        data_prefix={'img': f'leftImg8bit/{split}/'},
        filter_cfg={'filter_empty_gt': True, 'min_size': 32},
        pipeline=[
            {'type': 'mmdet.LoadImageFromFile'},
            {'type': 'mmdet.LoadAnnotations'} | annotations,
        ],
    )


@pytest.mark.parametrize('split', COUNTS)
def test_mmdet_loads_it(dataset: Path, split: str) -> None:
    loaded = load(dataset, split)
    categories = index(dataset, split).dataset['categories']
    classes = loaded.metainfo['classes']
    assert tuple(category['name'] for category in categories) == classes
    assert 0 < len(loaded) < COUNTS[split]
    for item in loaded:
        assert item['img'].shape == (64, 128, 3)
        assert len(item['gt_masks']) == len(item['gt_bboxes']) > 0
        assert set(item['gt_bboxes_labels']) <= set(range(8))


def test_the_truth_scores_one_in_mmdet(dataset: Path, tmp_path: Path) -> None:
    metric = CityScapesMetric(str(tmp_path), str(dataset / 'gtFine/train'))
    loaded = load(dataset, 'train')
    metric.dataset_meta = loaded.metainfo
    for item in loaded:
        keep = ~item['gt_ignore_flags']
        perfect = {
            'labels': torch.from_numpy(item['gt_bboxes_labels'][keep]),
            'masks': torch.from_numpy(item['gt_masks'].masks[keep]),
            'scores': torch.ones(keep.sum()),
        }
        item |= {'pred_instances': perfect}
        metric.process({}, [item])
    assert metric.evaluate(len(loaded))['cityscapes/mAP'] == 1


@pytest.mark.parametrize('split', COUNTS)
def test_mmseg_loads_it(dataset: Path, split: str) -> None:
    loaded = mmseg.datasets.CityscapesDataset(
        data_root=str(dataset),
        data_prefix={
            'img_path': f'leftImg8bit/{split}',
            'seg_map_path': f'gtFine/{split}',
        },
        pipeline=[
            {'type': 'mmseg.LoadImageFromFile'},
            {'type': 'mmseg.LoadAnnotations'},
        ],
    )
    assert len(loaded) == COUNTS[split]
    for train_id, name in enumerate(loaded.metainfo['classes']):
        assert name2label[name].trainId == train_id
    for item in loaded:
        assert item['img'].shape == (64, 128, 3)
        assert item['gt_seg_map'].max() < 19


def test_a_digit_has_its_range_of_hues(module):
    sources = module.load_sources('train')._replace(colored=True)
    rng = np.random.default_rng(0)
    for index, label in enumerate(sources.labels[:100]):
        assert 0 <= sources.hue(index, rng) - label / 10 < 0.05
