# Copyright (c) mmnorm contributors. All rights reserved.
"""Look at the data that a config names, before a run waits for them."""

import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from os.path import getsize, isdir, isfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS
from PIL import Image

SPLITS = ('train', 'val', 'test')
SECTIONS = {
    'CocoDataset': 'COCO 2017',
    'COCOStuffDataset': 'COCO-Stuff164k',
    'CityscapesDataset': 'Cityscapes',
    'PascalVOCDataset': 'VOC 2012 with SBD',
}
OWN = 'Your own data'
MINI = 'Mini data sets'
SAMPLE = 20  # files of a folder that are opened

Verdict = tuple[str, str]  # status, details
Finding = tuple[str, str, str, str]  # what, path, status, details
Trouble = Callable[[Path], str | None]


class Row(NamedTuple):
    """One thing that a run needs, with the status 'found' if it is usable."""

    split: str
    dataset: str
    what: str
    path: str
    status: str
    details: str
    section: str  # of docs/data.md


class Coco(NamedTuple):
    """What an annotation file in COCO's format holds."""

    files: tuple[str, ...]
    categories: tuple[str, ...]
    annotations: int


def check_data(cfg: Config) -> list[Row]:
    """Look for all that the data loaders and evaluators of a config name.

    Raises:
        ValueError: The config does not say which data.
    """
    rows = [row for split in SPLITS for row in _split_rows(cfg, split)]
    if not rows:
        keys = ', '.join(f'{split}_dataloader' for split in SPLITS)
        raise ValueError(f'the config names no data: it has none of {keys}')
    return rows


def _split_rows(cfg: Config, split: str) -> Iterator[Row]:
    key = f'{split}_dataloader'
    scope = cfg.get('default_scope')
    section = OWN
    if loader := cfg.get(key):
        node = loader.get('dataset')
        for dataset, section in _datasets(node, f'{key}.dataset', scope):
            for finding in _dataset_findings(dataset, split):
                yield Row(split, type(dataset).__name__, *finding, section)
    metrics = cfg.get(f'{split}_evaluator') or []
    for metric in [metrics] if isinstance(metrics, dict) else metrics:
        name = getattr(metric.type, '__name__', metric.type)
        for finding in _metric_findings(metric, split):
            yield Row(split, name, *finding, section)


def _datasets(
    node: object, key: str, scope: str | None
) -> Iterator[tuple[BaseDataset, str]]:
    if not isinstance(node, dict) or 'type' not in node:
        raise ValueError(f"{key} has no 'type'")
    kind = node['type']
    if not inspect.isclass(kind):
        with DATASETS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    if kind is None:
        raise ValueError(f'{key}.type: {scope} has no {node["type"]!r}')
    # Wrappers such as RepeatDataset and ConcatDataset hold others.
    if 'datasets' in node:
        for index, inner in enumerate(node['datasets']):
            yield from _datasets(inner, f'{key}.datasets.{index}', scope)
    elif 'dataset' in node:
        yield from _datasets(node['dataset'], f'{key}.dataset', scope)
    else:
        yield _build(kind, node, key), _section(kind, node)


def _build(kind: type[BaseDataset], node: dict, key: str) -> BaseDataset:
    arguments = {k: v for k, v in node.items() if k not in ('type', '_scope_')}
    arguments |= dict(pipeline=[], lazy_init=True)
    dataset = kind.__new__(kind)
    try:
        # Some of mmseg assert at the end that the files exist: asked here.
        with suppress(AssertionError):
            dataset.__init__(**arguments)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f'{key}: {error}') from error
    return dataset


def _section(kind: type[BaseDataset], node: dict) -> str:
    if '/mini_' in f'/{node.get("data_root")}':
        return MINI
    return OWN if node.get('metainfo') else SECTIONS.get(kind.__name__, OWN)


def _dataset_findings(dataset: BaseDataset, split: str) -> Iterator[Finding]:
    # Told by what they have, as mmdet or mmseg may not be installed.
    if hasattr(dataset, 'COCOAPI'):
        yield from _coco_findings(dataset, split)
    elif hasattr(dataset, 'reduce_zero_label'):
        yield from _seg_findings(dataset)
    else:
        if path := dataset.ann_file:
            yield 'annotations', path, *_file(path)
        for what, folder in dataset.data_prefix.items():
            yield what, folder, *_folder(folder)


def _metric_findings(metric: dict, split: str) -> Iterator[Finding]:
    if path := metric.get('ann_file'):
        is_json = path.endswith('.json')
        verdict = _coco_file(path, split) if is_json else _file(path)
        yield 'annotations', path, *verdict
    if folder := metric.get('seg_prefix'):
        yield 'labels', folder, *_folder(folder)


def _coco_findings(dataset: BaseDataset, split: str) -> Iterator[Finding]:
    path, folder = dataset.ann_file, dataset.data_prefix.get('img', '')
    status, details = _coco_file(path, split, dataset.metainfo['classes'])
    yield 'annotations', path, status, details
    files = None
    if status == 'found':
        files = [Path(folder, name) for name in _read_coco(path).files]
    yield 'images', folder, *_folder(folder, files, _load)


def _seg_findings(dataset: BaseDataset) -> Iterator[Finding]:
    names = dataset.ann_file
    prefix = {'img_path': ''} | dataset.data_prefix
    status, details = _file(names) if names else ('found', '')
    infos = None
    if status == 'found' and (names or isdir(prefix['img_path'])):
        infos = dataset.load_data_list()
        details = f'{len(infos)} names'
    if names:
        yield 'list', names, status, details
    for what, key, trouble in (
        ('images', 'img_path', _load),
        ('labels', 'seg_map_path', partial(_label_trouble, dataset)),
    ):
        if key in prefix:
            files = None if infos is None else [Path(i[key]) for i in infos]
            yield what, prefix[key], *_folder(prefix[key], files, trouble)


def _file(path: str) -> Verdict:
    if not isfile(path):
        return 'missing', ''
    return ('found', '') if getsize(path) else ('empty', '0 bytes')


def _folder(
    path: str, files: list[Path] | None = None, trouble: Trouble | None = None
) -> Verdict:
    if not isdir(path):
        return 'missing', ''
    if files is None:  # nothing says which files it has to hold
        return 'found', ''
    if not files:
        return 'empty', 'no file of the right name'
    absent = [file for file in files if not file.is_file()]
    if absent:
        return 'missing', f'{len(absent)} of {len(files)}: {absent[0].name}'
    for file in files[:SAMPLE]:
        try:
            wrong = trouble(file)
        except (OSError, SyntaxError, ValueError):  # as Pillow raises
            wrong = 'is not a picture, or a truncated one'
        if wrong:
            return 'broken', f'{file.name} {wrong}'
    return 'found', f'{len(files)} files'


def _coco_file(path: str, split: str, classes: Sequence[str] = ()) -> Verdict:
    status, details = _file(path)
    if status != 'found':
        return status, details
    try:
        coco = _read_coco(path)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        return 'broken', f"not in COCO's format: {error!r}"
    if not coco.files:
        return 'empty', 'no images'
    # Pictures for an evaluation server come without.
    if not coco.annotations and split != 'test':
        return 'empty', 'no annotations'
    details = f'{len(coco.files)} images, {coco.annotations} annotations'
    unknown = [name for name in classes if name not in coco.categories]
    if unknown:
        # mmdet numbers the categories it knows in the order of the file, and
        # the numbers are right where these are the first of the classes.
        known = [name for name in coco.categories if name in classes]
        if not known or known != list(classes[: len(known)]):
            names = ', '.join(map(repr, unknown[:3]))
            return 'broken', f'{len(unknown)} classes are no category: {names}'
        details += f' of {len(known)} of the {len(classes)} classes'
    return 'found', details


@cache  # val, test and their evaluators often name the same large file
def _read_coco(path: str) -> Coco:
    content = json.loads(Path(path).read_bytes())
    return Coco(
        tuple(image['file_name'] for image in content['images']),
        tuple(category['name'] for category in content['categories']),
        len(content.get('annotations', ())),
    )


def _load(file: Path) -> None:
    with Image.open(file) as picture:
        picture.load()


def _label_trouble(dataset: BaseDataset, file: Path) -> str | None:
    # The label map and the rule for id 0 are attributes of the data set.
    info = vars(dataset) | dict(seg_map_path=str(file), seg_fields=[])
    load = TRANSFORMS.build(dict(type='mmseg.LoadAnnotations'))
    ids = load(info)['gt_seg_map']
    if ids.ndim != 2:
        return f'has {ids.shape[-1]} channels; a label has one'
    number = len(dataset.metainfo.get('classes') or range(256))
    unknown = np.setdiff1d(ids, [*range(number), dataset.ignore_index])
    if unknown.size:
        return f'has the id {unknown[0]}; the last class is {number - 1}'
    return None
