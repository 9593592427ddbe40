# Copyright (c) mmnorm contributors. All rights reserved.
"""Each config is what its name says, and builds."""

import re
from collections.abc import Iterator

import pytest
from mmcv.cnn import is_norm
from mmengine.config import Config
from mmseg import datasets
from torch.nn import BatchNorm2d

from mmnorm import ConvWS, layers
from mmnorm.analysis import find_mistakes
from mmnorm.config.apply_norm import NORMS as EVERY_NORM

from .zoo import CLASSIFIERS, RATES, ROOT, Name, build, load, momenta

CONFIGS = sorted({*ROOT.glob('[!_]*/*.py')} - {*CLASSIFIERS})
NORMS = {norm.lower(): getattr(layers, norm) for norm in EVERY_NORM}
# These configs exist to be compared with: BN, at one image per GPU.
BASELINES = (
    'mask-rcnn_r18_fpn_bn-all_1xb1-3e_mini-coco',
    'mask-rcnn_r50_fpn_bn-all_8xb1-2x_coco',
)
EPOCHS = {'1x': 12, '2x': 24, 'scratch-6x': 73, '3e': 3, '': 8}
ROOTS = {
    'coco-stuff164k': 'coco_stuff164k',
    'voc12aug': 'VOCdevkit/VOC2012',
    'mini-coco': 'mini_coco',
    'mini-cityscapes': 'mini_cityscapes',
}


def parts_of(model) -> Iterator[tuple[str, object]]:
    """Yield backbone, neck and heads of a model or of its config."""
    for parent in (model, getattr(model, 'roi_head', None)):
        for name in (
            'backbone',
            'neck',
            'bbox_head',
            'mask_head',
            'decode_head',
            'auxiliary_head',
        ):
            part = getattr(parent, name, None)
            if part is not None:
                yield name, part


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_is_what_its_name_says(path):
    name = Name.parse(path.stem)
    text = path.read_text()
    assert len(text.splitlines()) <= 25
    cfg = load(path)

    semantic = 'decode_head' in cfg.model
    assert cfg.model.backbone.depth == name.depth
    parts = dict(parts_of(cfg.model))
    assert len(parts) == dict(mask=4, faster=3).get(path.stem.split('-')[0], 3)
    for key, part in parts.items():
        assert part.norm_cfg.type.removeprefix('mmnorm.').lower() == name.norm
        # Others found that WS does harm in the heads of DeepLab.
        is_ws = 'ws' in name.options and (key == 'backbone' or not semantic)
        conv = (part.get('conv_cfg') or dict(type='Conv'))['type']
        centered = 'mmnorm.ConvWC' if name.norm == 'mabn' else 'Conv'
        assert conv == ('mmnorm.ConvWS' if is_ws else centered)
        if name.norm in ('frn', 'evonorms0', 'evonormb0') and semantic:
            # An activation needs no other one. The backbone has no such key.
            assert key == 'backbone' or part.act_cfg is None
        if name.norm in ('sn', 'ssn'):
            assert part.norm_cfg.get('use_bn', True) == (
                'nobn' not in name.options
            )
    assert cfg.model.backbone.norm_eval is False
    paramwise_cfg = cfg.optim_wrapper.paramwise_cfg
    assert paramwise_cfg.norm_decay_mult == 0
    hooks = [hook.type for hook in cfg.get('custom_hooks', [])]
    is_sparse = name.norm == 'ssn'
    assert ('mmnorm.SparseSwitchHook' in hooks) == is_sparse
    for logits in ('mean_weight', 'var_weight') if is_sparse else ():
        expected = dict(lr_mult=0.1, decay_mult=0.0)
        assert paramwise_cfg.custom_keys[logits] == expected

    images = name.gpus * name.per_gpu
    if path.parent.name == 'sn':
        assert ('nobn' in name.options) == (images == 1)
    assert cfg.train_dataloader.batch_size == name.per_gpu
    assert cfg.auto_scale_lr.base_batch_size == images
    lr = cfg.optim_wrapper.optimizer.lr
    assert lr == pytest.approx(RATES[name.data] * images)
    if semantic:
        check_semantic(cfg, name)
    else:
        assert cfg.train_cfg.max_epochs == EPOCHS[name.schedule]
        assert cfg.param_scheduler[1].end == cfg.train_cfg.max_epochs or (
            name.data == 'mini-coco'
        )
    if 'scratch' in name.schedule:
        backbone = cfg.model.backbone
        assert backbone.init_cfg is None
        assert backbone.frozen_stages == -1
        assert backbone.zero_init_residual is False

    data = re.sub(r'-\d+x\d+$', '', name.data)
    assert cfg.data_root.rstrip('/') == f'data/{ROOTS.get(data, data)}'


def check_semantic(cfg: Config, name: Name) -> None:
    steps = cfg.train_cfg.max_iters
    assert name.schedule == f'{steps / 1000:g}k'
    scheduler = cfg.param_scheduler[-1]
    assert scheduler.end == steps
    assert steps % cfg.train_cfg.val_interval == 0
    assert cfg.default_hooks.checkpoint.interval == cfg.train_cfg.val_interval
    if name.data == 'cityscapes-512x1024':
        images = steps * name.gpus * name.per_gpu
        assert images == 8 * 40000
        lr = cfg.optim_wrapper.optimizer.lr
        assert scheduler.eta_min == pytest.approx(lr / 100)
    crops = [
        step.crop_size
        for step in cfg.train_pipeline
        if step.type == 'RandomCrop'
    ]
    size = re.search(r'-(\d+)x(\d+)$', name.data)
    if size is not None:
        assert crops == [tuple(map(int, size.groups()))]
    assert [tuple(cfg.model.data_preprocessor.size)] == crops
    data_set = getattr(datasets, cfg.val_dataloader.dataset.type)
    classes = data_set.METAINFO['classes']
    assert cfg.model.decode_head.num_classes == len(classes)
    assert cfg.model.auxiliary_head.num_classes == len(classes)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_builds_with_only_its_norm_and_no_mistake(path):
    name = Name.parse(path.stem)
    cfg = load(path)
    model = build(cfg)
    mistakes = {mistake.sentence for mistake in find_mistakes(model, cfg)}
    assert all('from one image' in sentence for sentence in mistakes)
    assert bool(mistakes) == (path.stem in BASELINES)
    expected = {NORMS[name.norm]}
    if path.stem.startswith('mask-rcnn_r18_fpn_bn-all'):
        expected = {BatchNorm2d}  # torch's own
    if name.norm == 'bcn':  # The batch part of BCN is a batch norm.
        expected.add(BatchNorm2d)
    for key, part in parts_of(model):
        found = {type(m) for m in part.modules() if is_norm(m)}
        assert found == expected, key
    has_ws = any(isinstance(m, ConvWS) for m in model.modules())
    assert has_ws == ('ws' in name.options)
    if path.parent.name == 'bcn':
        assert momenta(model) == {(0.1, 8)}


def test_every_base_is_inherited():
    files = {path.resolve() for path in ROOT.rglob('*.py')}
    inherited = {
        (path.parent / base).resolve()
        for path in files
        for base in re.findall(r"'([\w./-]+\.py)'", path.read_text())
    }
    assert {p for p in files if '_base_' in p.parts} - inherited == set()
