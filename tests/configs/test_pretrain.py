# Copyright (c) mmnorm contributors. All rights reserved.
"""Each classifier is what its name says, builds, and fits its successors."""

import math
import re

import pytest
import torch
from mmcv.cnn import is_norm
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch.nn import BatchNorm2d, Module

from mmnorm import BCN, ConvWS
from mmnorm.analysis import find_mistakes

from .test_configs import NORMS
from .zoo import CLASSIFIERS, ROOT, Name, build, load, path_of

IMAGES = {  # for training
    'imagenet': 1281167,
    'cifar10': 50000,
    'cifar100': 50000,
    'mini-imagenet': 1000,
}
CLASSES = dict(IMAGES, imagenet=1000, cifar10=10, cifar100=100)
CLASSES['mini-imagenet'] = 10
MILESTONES = {
    '90e': [30, 60],
    '100e': [30, 60, 90],
    '164e': [81, 122],
}


@pytest.mark.parametrize('path', CLASSIFIERS, ids=lambda path: path.stem)
def test_config_is_what_its_name_says(path):
    name = Name.parse(path.stem)
    text = path.read_text()
    assert len(text.splitlines()) <= 25
    cfg = load(path)
    backbone = cfg.model.backbone
    assert backbone.depth == name.depth
    assert cfg.model.head.num_classes == CLASSES[name.data]
    assert cfg.data_preprocessor.num_classes == CLASSES[name.data]
    norm = backbone.norm_cfg
    assert norm.type.removeprefix('mmnorm.').lower() == name.norm
    if name.norm == 'bcn':
        assert norm.estimate is False  # the batch is large
    if name.data == 'imagenet' and name.norm in ('bcn', 'sn'):
        assert norm.sync is False
    conv = backbone.get('conv_cfg', dict(type='Conv'))['type']
    is_ws = 'ws' in name.options
    assert conv == ('mmnorm.ConvWS' if is_ws else 'Conv')

    loader = cfg.train_dataloader
    assert loader.batch_size == name.per_gpu
    images = name.gpus * name.per_gpu
    assert cfg.auto_scale_lr.base_batch_size == images
    epochs = cfg.train_cfg.max_epochs
    assert name.schedule == f'{epochs}e'
    data = name.data.replace('-', '_')
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.data_root.rstrip('/') == f'data/{data}'
        assert dataset.get('download', False) is False
    if path.parent.name == 'mini':
        return
    assert 'paramwise_cfg' not in cfg.optim_wrapper  # norms decay, too
    sgd = dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4)
    optimizer = cfg.optim_wrapper.optimizer.to_dict()
    assert optimizer | sgd == optimizer
    scheduler = cfg.param_scheduler
    if isinstance(scheduler, list):
        assert scheduler[-1].end == epochs
        assert scheduler[-1].begin == scheduler[0].end
        assert scheduler[-1].T_max == epochs - scheduler[0].end
    else:
        assert scheduler.milestones == MILESTONES[name.schedule]
        assert scheduler.gamma == 0.1


@pytest.mark.parametrize('path', CLASSIFIERS, ids=lambda path: path.stem)
def test_comment_counts_the_steps(path):
    name = Name.parse(path.stem)
    cfg = load(path)
    base = path.parent / '_base_/resnet18_mini-imagenet.py'
    text = (base if path.parent.name == 'mini' else path).read_text()
    text = ' '.join(text.replace('#', '').split())
    gpus, per_gpu, images = map(
        int, re.search(r'(\d+) GPUs? x (\d+) images = (\d+)', text).groups()
    )
    assert (gpus, per_gpu) == (name.gpus, name.per_gpu)
    assert images == gpus * per_gpu
    total, per_epoch, epochs, steps = map(
        int,
        re.search(
            r'(\d+) images make (\d+) steps per epoch[;,]'
            r'(?: and)? (\d+) epochs are (\d+) steps',
            text,
        ).groups(),
    )
    assert total == IMAGES[name.data]
    assert epochs == cfg.train_cfg.max_epochs
    # The samplers of all processes together repeat images until the numbers
    # of images are equal.
    share = math.ceil(total / gpus) / per_gpu
    is_whole = cfg.train_dataloader.get('drop_last', False)
    assert per_epoch == (int(share) if is_whole else math.ceil(share))
    assert steps == epochs * per_epoch


@pytest.mark.parametrize('path', CLASSIFIERS, ids=lambda path: path.stem)
def test_config_builds_with_only_its_norm(path):
    name = Name.parse(path.stem)
    cfg = load(path)
    model = build(cfg)
    assert find_mistakes(model, cfg) == []
    expected = {NORMS[name.norm]}
    if name.norm == 'bcn':  # The batch part of BCN is a batch norm.
        expected.add(BatchNorm2d)
    assert {type(m) for m in model.modules() if is_norm(m)} == expected
    convs = [m for m in model.modules() if hasattr(m, 'kernel_size')]
    has_ws = {isinstance(m, ConvWS) for m in convs if hasattr(m, 'weight')}
    assert has_ws == {'ws' in name.options}


def shapes(backbone: Module) -> dict[str, tuple[int, ...]]:
    return {k: tuple(v.shape) for k, v in backbone.state_dict().items()}


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize(
    ('classifier', 'successors'),
    [
        ('resnet50_bcn-all_4xb64-90e_imagenet', 'r50*_bcn-all'),
        ('resnet50_bcn-ws-all_4xb64-90e_imagenet', 'r50*_bcn-ws-all'),
        ('resnet50_bcn-ws-all_4xb64-90e_imagenet', 'r50-d8-ws_bcn-all'),
        ('resnet50_gn-ws-all_4xb64-90e_imagenet', 'r50*_gn-ws-all'),
        ('resnet50_gn-ws-all_4xb64-90e_imagenet', 'r50-d8-ws_gn-all'),
        ('resnet50_sn-all_8xb32-120e_imagenet', 'r50*_sn-all'),
        ('resnet101_bcn-ws-all_4xb32-100e_imagenet', 'r101-d8-ws_bcn-all'),
        ('resnet101_gn-ws-all_4xb32-100e_imagenet', 'r101*_gn-ws-all'),
        ('resnet101_gn-ws-all_4xb32-100e_imagenet', 'r101-d8-ws_gn-all'),
    ],
)
def test_backbone_fits_every_successor(classifier, successors):
    expected = shapes(build(load(path_of(classifier))).backbone)
    paths = [
        path
        for path in ROOT.glob(f'*/*_{successors}_*.py')
        if '-ws' in successors or '-ws' not in path.stem
    ]
    assert paths
    bases = {path.stem.split('xb')[0]: path for path in paths}
    for path in bases.values():
        assert shapes(build(load(path)).backbone) == expected


@pytest.mark.filterwarnings('ignore')
def test_deep_stem_of_mmseg_fits():
    cfg = Config.fromfile(path_of('resnet50_bcn-ws-all_4xb64-90e_imagenet'))
    deeplab = Config.fromfile(
        path_of('deeplabv3_r50-d8-ws_bcn-all_4xb2-40k_cityscapes-512x1024')
    )
    deeplab.model.backbone.type = 'ResNetV1c'
    expected = shapes(build(deeplab).backbone)
    cfg.model.backbone.type = 'ResNetV1c'  # that of mmpretrain
    assert shapes(build(cfg).backbone) != expected
    cfg.model.backbone.type = 'mmseg.ResNetV1c'
    model = build(cfg).eval()
    assert shapes(model.backbone) == expected
    scores = model(torch.randn(1, 3, 32, 32), mode='tensor')
    assert scores.shape == (1, 1000)


@pytest.mark.parametrize(
    ('norms', 'is_zero'), [('bcn-ws', True), ('sn', True), ('gn-ws', False)]
)
def test_branches_begin_as_those_of_the_authors(norms, is_zero):
    (path, *_) = ROOT.glob(f'pretrain/resnet50_{norms}-all_*_imagenet.py')
    cfg = Config.fromfile(path)
    cfg.model.backbone.update(base_channels=32, depth=50)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
    for module in model.modules():
        if hasattr(module, 'norm3'):
            assert module.norm3.weight.any() != is_zero
            if isinstance(module.norm3, BCN):
                assert (module.norm3.bn.weight == 1).all()
