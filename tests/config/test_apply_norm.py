# Copyright (c) mmnorm contributors. All rights reserved.
"""The statements for a norm, decided without building a model."""

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

from mmnorm.config.apply_norm import apply_norm
from mmnorm.config.errors import ConfigError
from mmnorm.config.model_parts import argument, find_parts

MMDET = Path(mmdet.__file__).parent / '.mim/configs'
MMSEG = Path(mmseg.__file__).parent / '.mim/configs'
MASK_RCNN = MMDET / 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
DEEPLAB = MMSEG / (
    'deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py'
)


def decide(path: Path, norm: str, **kwargs) -> tuple[dict, list[str]]:
    """Return the values by name, and the report."""
    cfg = kwargs.pop('cfg', None) or Config.fromfile(path)
    statements, report = apply_norm(cfg, path.stem, norm, **kwargs)
    return {name: value for _, name, value in statements}, report


@pytest.mark.parametrize(
    ('cls', 'takes'),
    [
        (ResNet, {'norm_cfg', 'conv_cfg', 'norm_eval'}),
        (RPNHead, set()),
        (FCNMaskHead, {'norm_cfg', 'conv_cfg'}),
        # A base of each of these names the arguments.
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
        'rpn_head: unchanged, because RPNHead takes no norm_cfg',
        'roi_head.bbox_head: Shared2FCBBoxHead -> Shared4Conv1FCBBoxHead, '
        'no norm -> mmnorm.BCN, mmnorm.ConvWS',
        'roi_head.mask_head: no norm -> mmnorm.BCN, mmnorm.ConvWS',
        'weights: torchvision://resnet50 were trained without WS: train '
        'every layer, with model.backbone.frozen_stages=-1, or name '
        'weights trained with WS in model.backbone.init_cfg',
    ]


@pytest.mark.parametrize(
    ('norm', 'ws', 'note'),
    [
        ('BCN', False, 'load into mmnorm.BCN as they are'),
        ('SN', False, 'load into mmnorm.SN as they are'),
        ('SyncBN', False, 'load into mmnorm.SyncBN as they are'),
        ('SSN', False, 'load into mmnorm.SSN as they are'),
        ('BRN', False, 'load into mmnorm.BRN as they are'),
        ('MABN', False, 'were trained without MABN: name weights '),
        ('FRN', False, 'were trained without FRN: name weights '),
        ('GN', False, 'were trained without GN: name weights '),
        ('GN', True, 'were trained without GN and WS: name w'),
    ],
)
def test_weights_of_the_base(norm, ws, note):
    _, report = decide(MASK_RCNN, norm, ws=ws)
    assert f'weights: torchvision://resnet50 {note}' in report[-1]


def test_weights_trained_with_the_norm_stay():
    path = MMDET / 'gn+ws/mask-rcnn_r50_fpn_gn-ws-all_2x_coco.py'
    _, report = decide(path, 'GN', ws=True)
    assert report[-1].endswith('load into mmnorm.GN as they are')


@pytest.mark.parametrize('gpus', [1, 4, 16])
def test_estimates_follow_the_images_by_themselves(gpus):
    values, _ = decide(MASK_RCNN, 'BCN', gpus=gpus, batch_size=1)
    assert (
        values['norm_cfg'].keys().isdisjoint(('momentum', 'base_batch_size'))
    )


def test_schedule_of_another_batch_size():
    values, report = decide(MASK_RCNN, 'BCN', batch_size=1)
    assert values['train_dataloader'] == {'batch_size': '1'}
    assert values['optim_wrapper']['optimizer'] == {'lr': '0.01'}
    assert report[-2].startswith('schedule: 8 GPUs x 1 image = 8; lr 0.02 * ')
    values, report = decide(MASK_RCNN, 'BCN')
    assert 'train_dataloader' not in values
    assert 'optimizer' not in values['optim_wrapper']
    assert not any(line.startswith('schedule') for line in report)


def test_weight_decay_of_norms():
    values, _ = decide(MASK_RCNN, 'SN')
    none = {'decay_mult': '0.0'}
    assert values['optim_wrapper']['paramwise_cfg'] == {
        'norm_decay_mult': '0.0',
        'custom_keys': {'mean_weight': none, 'var_weight': none},
    }
    cfg = Config.fromfile(MASK_RCNN)
    cfg.optim_wrapper.paramwise_cfg = dict(norm_decay_mult=0.5)
    assert 'optim_wrapper' not in decide(MASK_RCNN, 'BCN', cfg=cfg)[0]


def test_sparse_switchable_norm_gets_its_hook_and_its_learning_rate():
    hook = {'type': "'mmnorm.SparseSwitchHook'"}
    values, _ = decide(MASK_RCNN, 'SSN')
    assert values['custom_hooks'] == [hook]
    keys = values['optim_wrapper']['paramwise_cfg']['custom_keys']
    assert keys['var_weight'] == {'lr_mult': '0.1', 'decay_mult': '0.0'}
    cfg = Config.fromfile(MASK_RCNN)
    cfg.custom_hooks = [dict(type='EMAHook')]
    values, _ = decide(MASK_RCNN, 'SSN', cfg=cfg)
    assert values['custom_hooks'] == ['*_base_.custom_hooks', hook]
    hooks = decide(MASK_RCNN, 'BKN')[0]['custom_hooks']
    assert hooks == [{'type': "'mmnorm.KalmanHook'"}]


def test_activations_leave_no_activation_where_the_part_takes_it():
    values, report = decide(DEEPLAB, 'EvoNormS0')
    assert values['model']['decode_head']['act_cfg'] == 'None'
    assert 'act_cfg' not in values['model']['backbone']
    assert report[1].endswith('mmnorm.EvoNormS0, act_cfg None')
    values, _ = decide(DEEPLAB, 'BCN')
    assert 'act_cfg' not in values['model']['decode_head']


@pytest.mark.parametrize(
    ('norm', 'frozen'), [('BRN', True), ('MABN', True), ('IN', False)]
)
def test_norms_of_one_image_have_nothing_to_freeze(norm, frozen):
    values, _ = decide(MASK_RCNN, norm)
    assert ('norm_eval' in values['model']['backbone']) == frozen


def test_moving_average_batch_norm_centers_the_weights_of_every_part():
    values, _ = decide(DEEPLAB, 'MABN')
    assert values['conv_cfg'] == {'type': "'mmnorm.ConvWC'"}
    assert all('conv_cfg' in part for part in values['model'].values())


def test_layer_norm_of_a_transformer_stays():
    cfg = Config.fromfile(MASK_RCNN)
    cfg.model.backbone = dict(type='SwinTransformer')
    values, report = decide(MASK_RCNN, 'BCN', cfg=cfg)
    assert 'because SwinTransformer normalizes tokens with LN' in report[0]
    assert 'backbone' not in values['model']
    assert report[-1] == 'weights: unchanged'


def test_members_of_a_list_that_differ_stay():
    cfg = Config.fromfile(MASK_RCNN)
    heads = [cfg.model.roi_head.bbox_head, dict(type='BBoxHead')]
    cfg.model.roi_head.bbox_head = heads
    values, report = decide(MASK_RCNN, 'BCN', cfg=cfg)
    assert list(values['model']['roi_head']) == ['mask_head']
    assert report[3].endswith('unchanged, because its members differ')


@pytest.mark.parametrize(
    ('model', 'why'),
    [
        (dict(type='FasterRCNN'), 'no part of the model takes'),
        (dict(backbone=dict(type='NoSuchNet')), "'NoSuchNet' is in no regis"),
        (dict(backbone=dict(depth=50)), 'a part of the model has the type N'),
    ],
)
def test_models_that_take_no_norm(model, why):
    cfg = Config(dict(default_scope='mmdet', model=model))
    with pytest.raises(ConfigError, match=why):
        apply_norm(cfg, 'config', 'BCN')


def test_layer_norms_stay():
    path = MMDET / (
        'convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py'
    )
    values, report = decide(path, 'BCN')
    assert 'backbone' not in values['model']
    assert report[0] == (
        'backbone: unchanged, because mmpretrain.ConvNeXt normalizes tokens '
        'with LN2d'
    )
    assert report[-1] == 'weights: unchanged'


def test_keywords_of_a_head_are_no_part():
    path = MMDET / 'solov2/solov2_r50_fpn_1x_coco.py'
    assert 'mask_feature_head' in Config.fromfile(path).model.mask_head
    values, _ = decide(path, 'BCN')
    assert values['model'].keys() == {'backbone', 'neck', 'mask_head'}
