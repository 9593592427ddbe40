# Copyright (c) mmnorm contributors. All rights reserved.
"""The configs of the zoo train two steps and evaluate, on mini data.

One of each architecture, data set and norm, with its whole network, its class
of data set and its metric; only the pictures are small.
"""

import importlib
import math
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

ROOT = Path(__file__).parents[2]
RECIPES = (
    '8xb1-2x_coco',  # Mask R-CNN
    '8xb1_cityscapes',
    '8xb2-1x_coco',  # Faster R-CNN
    '8xb2-2x_coco',
    '8xb1-40k_cityscapes-512x1024',
    '8xb2-80k_coco-stuff164k-512x512',
    '4xb4-40k_voc12aug-512x512',
)
CONFIGS = sorted(
    path
    for recipe in RECIPES
    for path in ROOT.glob(f'configs/[!_m]*/*_{recipe}.py')
    if '_r50' in path.stem
    and not (path.stem.startswith('mask') and recipe == '8xb2-2x_coco')
)
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
    """A folder with a mini twin of each data set, where configs look."""
    root = tmp_path_factory.mktemp('user')
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / 'tools/dataset_converters')
        for out, tool in TOOLS.items():
            sizes = ['--train=6', '--val=2']
            patch.setattr(sys, 'argv', ['', str(root / out), *sizes])
            importlib.import_module(tool).main()
    (root / 'data/VOCdevkit').symlink_to('voc/VOCdevkit')
    return root


def make_small(node: object) -> None:
    """Change the pictures of all pipelines and loaders within a config."""
    if isinstance(node, dict):
        node.update(SMALL.get(node.get('type'), {}))
        if 'persistent_workers' in node:
            node.update(num_workers=0, persistent_workers=False)
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for member in node:
            make_small(member)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
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
        # Hundreds of regions would take most of the time.
        cfg.model.train_cfg.rcnn.sampler.num = 32
        cfg.model.test_cfg.rpn.max_per_img = 20
        # After two steps no class scores high, and no box is no score.
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
