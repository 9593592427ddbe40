# Copyright (c) mmnorm contributors. All rights reserved.
"""What a config has to say, decided without building anything."""

from pathlib import Path

import mmdet
import mmseg
import pytest
from mmdet.models import (
    FCNMaskHead,
    FCOSHead,
    ResNet,
    RPNHead,
    Shared4Conv1FCBBoxHead,
)
from mmengine.config import Config
from mmseg.models import DepthwiseSeparableASPPHead

from mmnorm.config.apply_norm import apply_norm, argument, find_parts

MMDET = Path(mmdet.__file__).parent / '.mim/configs'
MMSEG = Path(mmseg.__file__).parent / '.mim/configs'
MASK_RCNN = MMDET / 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
ITERATIONS = MMDET / 'faster_rcnn/faster-rcnn_r50-caffe_fpn_90k_coco.py'
DEEPLAB = MMSEG / (
    'deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py'
)


def decide(path: Path, norm: str, **kwargs) -> tuple[dict, list[str]]:
    """Values and comments by name, and the report."""
    cfg = kwargs.pop('cfg', None) or Config.fromfile(path)
    statements, report = apply_norm(cfg, path.stem, norm, **kwargs)
    return {name: (value, said) for said, name, value in statements}, report


@pytest.mark.parametrize(
    ('cls', 'takes'),
    [
        (ResNet, {'norm_cfg', 'conv_cfg', 'norm_eval'}),
        (RPNHead, set()),
        (FCNMaskHead, {'norm_cfg', 'conv_cfg'}),
        # These get them as keywords that a base names.
        (Shared4Conv1FCBBoxHead, {'norm_cfg', 'conv_cfg'}),
        (FCOSHead, {'norm_cfg', 'conv_cfg'}),
        (DepthwiseSeparableASPPHead, {'norm_cfg', 'conv_cfg'}),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_arguments_of_a_class_and_its_bases(cls, takes):
    names = ('norm_cfg', 'conv_cfg', 'norm_eval', 'no_such_argument')
    assert {name for name in names if argument(cls, name)} == takes


def test_parts_of_a_model():
    model = dict(
        type='FasterRCNN',
        backbone=dict(type='ResNet'),
        neck=None,
        rpn_head=dict(type='RPNHead'),
        roi_head=dict(
            bbox_roi_extractor=dict(type='SingleRoIExtractor'),
            bbox_head=[dict(type='BBoxHead'), dict(type='BBoxHead')],
        ),
    )
    assert [path for path, _ in find_parts(model)] == [
        'backbone',
        'rpn_head',
        'roi_head.bbox_head',
    ]


def test_a_report_says_what_changes_and_what_does_not():
    _, report = decide(MASK_RCNN, 'BCN', ws=True)
    assert report == [
        'backbone: BN -> mmnorm.BCN, norm_eval False, mmnorm.ConvWS',
        'neck: no norm -> mmnorm.BCN, mmnorm.ConvWS',
        'rpn_head: RPNHead takes no norm_cfg, left as it is',
        'roi_head.bbox_head: Shared2FCBBoxHead -> Shared4Conv1FCBBoxHead, '
        'no norm -> mmnorm.BCN, mmnorm.ConvWS',
        'roi_head.mask_head: no norm -> mmnorm.BCN, mmnorm.ConvWS',
        'weights: torchvision://resnet50 are not for WS: name some trained '
        'so in model.backbone.init_cfg',
    ]


@pytest.mark.parametrize(
    ('norm', 'ws', 'said'),
    [
        ('BCN', False, 'load into mmnorm.BCN as they are'),
        ('SN', False, 'load into mmnorm.SN as they are'),
        ('SyncBN', False, 'load into mmnorm.SyncBN as they are'),
        ('GN', False, 'are not for GN: name some trained so'),
        ('GN', True, 'are not for GN and WS: name some trained so'),
    ],
)
def test_weights_of_the_base(norm, ws, said):
    _, report = decide(MASK_RCNN, norm, ws=ws)
    assert f'weights: torchvision://resnet50 {said}' in report[-1]


def test_weights_trained_with_the_norm_stay():
    path = MMDET / 'gn+ws/mask-rcnn_r50_fpn_gn-ws-all_2x_coco.py'
    _, report = decide(path, 'GN', ws=True)
    assert report[-1].endswith('load into mmnorm.GN as they are')


@pytest.mark.parametrize(
    ('options', 'batch_size', 'lr', 'comment'),
    [
        (
            dict(batch_size=1, gpus=1),
            '1',
            '0.00125',
            '1 GPU x 1 image = 1; lr 0.02 * 1 / 16 = 0.00125.',
        ),
        (
            dict(batch_size=1),
            '1',
            '0.01',
            '8 GPUs x 1 image = 8; lr 0.02 * 8 / 16 = 0.01.',
        ),
        (
            dict(gpus=4),
            '2',
            '0.01',
            '4 GPUs x 2 images = 8; lr 0.02 * 8 / 16 = 0.01.',
        ),
    ],
    ids=['both', 'batch size', 'gpus'],
)
def test_learning_rate_of_epochs(options, batch_size, lr, comment):
    said, _ = decide(MASK_RCNN, 'BCN', **options)
    assert said['train_dataloader'] == ({'batch_size': batch_size}, comment)
    assert said['optim_wrapper'][0]['optimizer'] == {'lr': lr}
    images = str(eval(comment.split(' = ')[1].split(';')[0]))
    assert said['auto_scale_lr'][0] == {'base_batch_size': images}
    assert 'train_cfg' not in said  # 12 epochs are as many images


def test_as_many_images_in_more_iterations():
    said, report = decide(DEEPLAB, 'SyncBN', batch_size=1, gpus=4)
    assert said['train_cfg'] == (
        {'max_iters': '80000', 'val_interval': '8000'},
        'Steps: 40000 * 8 / 4 = 80000.',
    )
    (scheduler,) = said['param_scheduler'][0]
    assert scheduler['end'] == '80000'
    assert scheduler['begin'] == '0'
    assert scheduler['eta_min'] == '5e-05'
    assert scheduler['power'] == '0.9'
    assert said['default_hooks'][0] == {'checkpoint': {'interval': '8000'}}
    assert said['optim_wrapper'][0]['optimizer'] == {'lr': '0.005'}
    assert 'schedule: 4 GPUs x 1 image = 4; lr 0.01 * 4 / 8' in report[-2]


def test_milestones_of_iterations():
    said, _ = decide(ITERATIONS, 'GN', batch_size=1, gpus=8)
    *_, decay = said['param_scheduler'][0]
    assert decay['milestones'] == '[120000, 160000]'
    assert decay['end'] == '180000'
    assert said['train_cfg'][0]['max_iters'] == '180000'


def test_batch_size_of_the_base_changes_nothing_else():
    said, _ = decide(DEEPLAB, 'GN', batch_size=2, gpus=4)
    assert said['optim_wrapper'][0]['optimizer'] == {'lr': '0.01'}
    assert 'train_cfg' not in said


def test_unknown_batch_size_leaves_the_learning_rate():
    cfg = Config.fromfile(MASK_RCNN)
    cfg.auto_scale_lr = dict()
    said, report = decide(MASK_RCNN, 'GN', cfg=cfg, batch_size=1, gpus=1)
    assert said['train_dataloader'][0] == {'batch_size': '1'}
    assert 'optimizer' not in said['optim_wrapper'][0]
    assert 'schedule: the base has no batch size to scale lr from' in report


def test_weight_decay_of_norms():
    said, _ = decide(MASK_RCNN, 'SN')
    none = {'decay_mult': '0.0'}
    assert said['optim_wrapper'][0]['paramwise_cfg'] == {
        'norm_decay_mult': '0.0',
        'custom_keys': {'mean_weight': none, 'var_weight': none},
    }
    cfg = Config.fromfile(MASK_RCNN)
    cfg.optim_wrapper.paramwise_cfg = dict(norm_decay_mult=0.5)
    assert 'optim_wrapper' not in decide(MASK_RCNN, 'BCN', cfg=cfg)[0]


def test_layer_norm_of_a_transformer_stays():
    cfg = Config.fromfile(MASK_RCNN)
    cfg.model.backbone = dict(type='SwinTransformer')
    said, report = decide(MASK_RCNN, 'BCN', cfg=cfg)
    assert 'SwinTransformer normalizes tokens with LN' in report[0]
    assert 'backbone' not in said['model'][0]
    assert report[-1] == 'weights: unchanged'


def test_members_of_a_list_that_differ_stay():
    cfg = Config.fromfile(MASK_RCNN)
    heads = [cfg.model.roi_head.bbox_head, dict(type='BBoxHead')]
    cfg.model.roi_head.bbox_head = heads
    said, report = decide(MASK_RCNN, 'BCN', cfg=cfg)
    assert list(said['model'][0]['roi_head']) == ['mask_head']
    assert report[3].endswith('its members differ, left as they are')


def test_model_without_norms():
    cfg = Config(dict(default_scope='mmdet', model=dict(type='FasterRCNN')))
    with pytest.raises(ValueError, match='no part of the model takes'):
        apply_norm(cfg, 'config', 'BCN')


def test_unknown_type():
    model = dict(backbone=dict(type='NoSuchNet'))
    cfg = Config(dict(default_scope='mmdet', model=model))
    with pytest.raises(ValueError, match="'NoSuchNet' is in no registry"):
        apply_norm(cfg, 'config', 'BCN')
