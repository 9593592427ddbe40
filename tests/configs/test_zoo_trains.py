# Copyright (c) mmnorm contributors. All rights reserved.
"""Detectors and segmenters of the zoo train two steps and evaluate.

Each norm trains Mask R-CNN and DeepLabV3, and each other architecture and data
set has a case. The network, the data set class and the metric are those of the
config; only the images are small, and few.
"""

import importlib
import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from .zoo import CLASSIFIERS, ROOT, Name

EVERY_NORM = (
    'mask-rcnn_r50_fpn_*_8xb1-2x_coco',
    'deeplabv3_r50-d8*_4xb2-40k_cityscapes-512x1024',
)
OTHERS = (
    'mask-rcnn_r50_fpn_bcn-all_8xb1_cityscapes',
    'faster-rcnn_r50_fpn_gn-ws-all_8xb2-1x_coco',
    'deeplabv3_r50-d8_bcn-all_8xb2-80k_coco-stuff164k-512x512',
    'deeplabv3_r50-d8_bcn-all_4xb4-40k_voc12aug-512x512',
    'deeplabv3plus_r50-d8_bcn-all_4xb2-40k_cityscapes-512x1024',
)
CONFIGS = [
    path
    for name in (*EVERY_NORM, *OTHERS)
    for path in sorted(ROOT.glob(f'*/{name}.py'))
]
# The family is large, and the study of the family trains its mini detectors.
CASES = [
    pytest.param(
        path,
        id=path.stem,
        marks=[pytest.mark.slow] if path.parent.name == 'family' else [],
    )
    for path in CONFIGS
]
TOOLS = {
    'data/coco': 'make_mini_coco',
    'data/cityscapes': 'make_mini_cityscapes',
    'data/coco_stuff164k': 'make_mini_coco_stuff',
    'data/voc': 'make_mini_voc',
}
DIGITS = ['zero', 'one', 'two', 'three', 'four']
DIGITS += ['five', 'six', 'seven', 'eight', 'nine']
SMALL = dict(
    Resize=dict(scale=(160, 80)),
    RandomResize=dict(scale=[(160, 80), (160, 96)]),
    RandomCrop=dict(crop_size=(64, 128)),
    CocoDataset=dict(metainfo=dict(classes=DIGITS)),
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Make a folder with a mini twin of each data set, where configs look."""
    root = tmp_path_factory.mktemp('user')
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT.parent / 'tools/dataset_converters')
        for out, tool in TOOLS.items():
            sizes = ['--train=6', '--val=2']
            patch.setattr(sys, 'argv', ['', str(root / out), *sizes])
            importlib.import_module(tool).main()
    (root / 'data/VOCdevkit').symlink_to('voc/VOCdevkit')
    return root


def make_small(node: object) -> None:
    """Make the images of all pipelines and loaders in a config small."""
    if isinstance(node, dict):
        node.update(SMALL.get(node.get('type'), {}))
        if 'persistent_workers' in node:
            node.update(num_workers=0, persistent_workers=False)
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for member in node:
            make_small(member)


def subjects(paths: Iterable[Path]) -> set[object]:
    """Return the architectures, data sets and norms that configs have."""
    names = [Name.parse(path.stem) for path in paths]
    return (
        {name.architecture for name in names}
        | {re.sub(r'-\d+x\d+$', '', name.data) for name in names}
        | {(name.norm, 'ws' in name.options) for name in names}
    )


def test_cases_cover_the_zoo():
    zoo = {*ROOT.glob('[!_m]*/*.py')} - {*CLASSIFIERS}
    assert subjects(CONFIGS) == subjects(zoo)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('path', CASES)
def test_config_trains_and_evaluates(path, folder, monkeypatch):
    monkeypatch.chdir(folder)
    cfg = Config.fromfile(path)
    cfg.work_dir = 'work_dir'
    cfg.model.backbone.init_cfg = None  # nothing to download here
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        make_small(loader)
    cfg.train_cfg = dict(
        type='IterBasedTrainLoop', max_iters=2, val_interval=2
    )
    cfg.default_hooks.checkpoint = None
    if 'rcnn' in cfg.model.get('test_cfg', {}):
        # Hundreds of regions would need most of the time.
        cfg.model.train_cfg.rcnn.sampler.num = 32
        cfg.model.test_cfg.rpn.max_per_img = 20
        # After two steps no score is high, and the metric needs boxes.
        cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=5)
        names = ['coco/bbox_mAP']
        heads = cfg.model.roi_head
        if 'mask_head' in heads:
            names.append('coco/segm_mAP')
        if 'cityscapes' in path.stem:
            names.append('cityscapes/mAP')
        else:
            for head in {'bbox_head', 'mask_head'} & heads.keys():
                heads[head].num_classes = len(DIGITS)
    else:
        cfg.model.data_preprocessor.size = (64, 128)
        names = ['mIoU']
        if 'cityscapes' in path.stem:
            official = dict(
                type='CityscapesMetric',
                output_dir='official',
                keep_results=True,
            )
            cfg.val_evaluator = [cfg.val_evaluator, official]
            names.append('averageScoreCategories')

    runner = Runner.from_cfg(cfg)
    runner.train()

    history = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(history) == 2
    assert all(math.isfinite(loss) for loss in history)
    for name in names:
        value = runner.message_hub.get_scalar(f'val/{name}').current()
        assert math.isfinite(value)
