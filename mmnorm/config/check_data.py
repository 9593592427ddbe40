# Copyright (c) mmnorm contributors. All rights reserved.
"""Check the data that a config names, a row per file or folder.

The check of a few seconds before each run is ``check_run``.
"""

import inspect
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from os.path import isdir
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS

from .data_files import (
    check_coco,
    check_file,
    check_folder,
    check_image,
    read_coco,
)
from .errors import ConfigError, one_line, raised_in
from .registered import registered

SPLITS = ('train', 'val', 'test')
SECTIONS = {
    'CocoDataset': 'COCO 2017',
    'COCOStuffDataset': 'COCO-Stuff164k',
    'CityscapesDataset': 'Cityscapes',
    'PascalVOCDataset': 'VOC 2012 with SBD',
    'ImageNet': 'ImageNet',
    'CIFAR10': 'CIFAR',
    'CIFAR100': 'CIFAR',
}
OWN = 'Your own data'
MINI = 'Mini data sets'

Finding = tuple[str, str, str, str]  # role, path, status, details


class Row(NamedTuple):
    """A file or folder that a run reads.

    Attributes:
        split: 'train', 'val' or 'test'.
        type: The class of the data set or the metric that reads it.
        role: Such as 'annotations' or 'images'.
        path: The file or folder.
        status: 'found' if a run can use it.
        details: How much was found, or what is wrong.
        section: The section of docs/data.md about this data set.
    """

    split: str
    type: str
    role: str
    path: str
    status: str
    details: str
    section: str


def check_data(cfg: Config) -> list[Row]:
    """Check all that the data loaders and evaluators of a config name.

    Args:
        cfg: The config.

    Raises:
        ConfigError: If the config does not say which data it means.
    """
    rows = [row for split in SPLITS for row in _split_rows(cfg, split)]
    if not rows:
        keys = ', '.join(f'{split}_dataloader' for split in SPLITS)
        raise ConfigError(f'the config names no data: it has none of {keys}')
    return rows


def _split_rows(cfg: Config, split: str) -> Iterator[Row]:
    key = f'{split}_dataloader'
    scope = cfg.get('default_scope')
    section = OWN
    if loader := cfg.get(key):
        node = loader.get('dataset') if isinstance(loader, dict) else None
        for dataset, section in _datasets(node, f'{key}.dataset', scope):
            for finding in _dataset_findings(dataset, split):
                yield Row(split, type(dataset).__name__, *finding, section)
    metrics = cfg.get(f'{split}_evaluator') or []
    for metric in metrics if isinstance(metrics, list) else [metrics]:
        if not isinstance(metric, dict) or 'type' not in metric:
            raise ConfigError(f"{split}_evaluator has no 'type'")
        name = getattr(metric['type'], '__name__', metric['type'])
        for finding in _metric_findings(metric, split):
            yield Row(split, name, *finding, section)


def _datasets(
    node: object, key: str, scope: str | None
) -> Iterator[tuple[BaseDataset, str]]:
    if not isinstance(node, dict) or 'type' not in node:
        raise ConfigError(f"{key} has no 'type'")
    cls = node['type']
    if not inspect.isclass(cls):
        cls = registered(DATASETS, cls, scope)
    if cls is None:
        raise ConfigError(f'{key}.type: {scope} has no {node["type"]!r}')
    # Wrappers such as RepeatDataset and ConcatDataset hold data sets.
    if 'datasets' in node:
        for index, inner in enumerate(node['datasets']):
            yield from _datasets(inner, f'{key}.datasets.{index}', scope)
    elif 'dataset' in node:
        yield from _datasets(node['dataset'], f'{key}.dataset', scope)
    else:
        yield _build(cls, node, key), _section(cls, node)


def _build(cls: type[BaseDataset], node: dict, key: str) -> BaseDataset:
    arguments = {k: v for k, v in node.items() if k not in ('type', '_scope_')}
    arguments |= dict(pipeline=[], lazy_init=True)
    dataset = cls.__new__(cls)
    try:
        # Some classes of mmseg assert at the end that the files exist. The
        # rows say this better.
        with suppress(AssertionError):
            dataset.__init__(**arguments)
    except (TypeError, ValueError) as error:
        if not raised_in(error, __file__, 'mmengine/dataset/', '/datasets/'):
            raise
        raise ConfigError(f'{key}: {error}') from error
    return dataset


def _section(cls: type[BaseDataset], node: dict) -> str:
    if '/mini_' in f'/{node.get("data_root")}':
        return MINI
    return OWN if node.get('metainfo') else SECTIONS.get(cls.__name__, OWN)


def _dataset_findings(dataset: BaseDataset, split: str) -> Iterator[Finding]:
    # Attributes tell the classes apart, because a user may have installed
    # only one of mmdet, mmseg and mmpretrain.
    if hasattr(dataset, 'COCOAPI'):
        yield from _coco_findings(dataset, split)
    elif hasattr(dataset, 'reduce_zero_label'):
        yield from _segmentation_findings(dataset)
    elif hasattr(dataset, 'extensions'):
        yield from _image_folder_findings(dataset)
    elif hasattr(dataset, 'tgz_md5'):
        yield from _cifar_findings(dataset)
    else:
        if path := dataset.ann_file:
            yield 'annotations', path, *check_file(path)
        for role, folder in dataset.data_prefix.items():
            yield role, folder, *check_folder(folder)


def _metric_findings(metric: dict, split: str) -> Iterator[Finding]:
    if path := metric.get('ann_file'):
        is_json = path.endswith('.json')
        verdict = check_coco(path, split) if is_json else check_file(path)
        yield 'annotations', path, *verdict
    if folder := metric.get('seg_prefix'):
        yield 'labels', folder, *check_folder(folder)


def _coco_findings(dataset: BaseDataset, split: str) -> Iterator[Finding]:
    path, folder = dataset.ann_file, dataset.data_prefix.get('img', '')
    status, details = check_coco(path, split, dataset.metainfo['classes'])
    yield 'annotations', path, status, details
    if status != 'found':
        yield 'images', folder, *check_folder(folder)
        return
    coco = read_coco(path)
    files = [Path(folder, name) for name in coco.files]
    sizes = dict(zip(files, coco.sizes, strict=True))

    def check(file: Path) -> str | None:
        return check_image(file, sizes[file])

    yield 'images', folder, *check_folder(folder, files, check)


def _segmentation_findings(dataset: BaseDataset) -> Iterator[Finding]:
    names = dataset.ann_file
    prefix = {'img_path': ''} | dataset.data_prefix
    status, details = check_file(names) if names else ('found', '')
    images = None
    if status == 'found' and (names or isdir(prefix['img_path'])):
        images = dataset.load_data_list()
        details = f'{len(images)} names'
    if names:
        yield 'list', names, status, details
    for role, key, check in (
        ('images', 'img_path', check_image),
        ('labels', 'seg_map_path', partial(_label_fault, dataset)),
    ):
        if key in prefix:
            files = None if images is None else [Path(i[key]) for i in images]
            yield role, prefix[key], *check_folder(prefix[key], files, check)


def _image_folder_findings(dataset: BaseDataset) -> Iterator[Finding]:
    names, folder = dataset.ann_file, dataset.data_prefix['img_path']
    status, details = check_file(names) if names else ('found', '')
    if names:
        yield 'list', names, status, details
    files = None
    if status == 'found' and isdir(folder):
        try:
            files = [Path(i['img_path']) for i in dataset.load_data_list()]
        except (AssertionError, RuntimeError, ValueError) as error:
            yield 'images', folder, 'broken', one_line(error)
            return
    yield 'images', folder, *check_folder(folder, files, check_image)


def _cifar_findings(dataset: BaseDataset) -> Iterator[Finding]:
    folder = Path(dataset.data_prefix['root'], dataset.base_folder)
    files = [*dataset.train_list, *dataset.test_list]
    absent = [name for name, _ in files if not (folder / name).is_file()]
    verdict = 'found', f'{len(files)} files'
    if absent:
        verdict = 'missing', f'{len(absent)} of {len(files)}: {absent[0]}'
    elif not dataset._check_integrity():
        verdict = 'broken', 'a file is not the published one'
    yield 'images', str(folder), *verdict


def _label_fault(dataset: BaseDataset, file: Path) -> str | None:
    # The label map and the rule for id 0 are attributes of the data set.
    info = vars(dataset) | dict(seg_map_path=str(file), seg_fields=[])
    load = TRANSFORMS.build(dict(type='mmseg.LoadAnnotations'))
    ids = load(info)['gt_seg_map']
    if ids.ndim != 2:
        return f'has {ids.shape[-1]} channels; a label has a single channel'
    number = len(dataset.metainfo.get('classes') or range(256))
    unknown = np.setdiff1d(ids, [*range(number), dataset.ignore_index])
    if unknown.size:
        return f'has the id {unknown[0]}; the last class is {number - 1}'
    return None
