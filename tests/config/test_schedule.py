# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
from mmengine.config import Config

from mmnorm.config.schedule import Batch, count, read_batch, scale_schedule

from .test_apply_norm import DEEPLAB, MASK_RCNN, MMDET

RTMDET = MMDET / 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
MASK2FORMER = MMDET / 'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py'
ITERATIONS = MMDET / 'faster_rcnn/faster-rcnn_r50-caffe_fpn_90k_coco.py'


def scale(path, batch_size=None, gpus=None) -> tuple[dict, str | None, str]:
    """Return values and comments by name, the learning rate, and the note."""
    cfg = Config.fromfile(path)
    batch = read_batch(cfg, path.stem, batch_size, gpus)
    statements, lr, note = scale_schedule(cfg, batch)
    values = {name: (value, comment) for comment, name, value in statements}
    return values, lr, note


@pytest.mark.parametrize(
    ('name', 'settings', 'options', 'batch'),
    [
        ('a', {}, (None, None), Batch(None, None, None)),
        ('a', {}, (1, 4), Batch(None, 4, 1)),
        (
            'a',
            dict(train_dataloader=None, auto_scale_lr=None),
            (None, None),
            Batch(None, None, None),
        ),
        ('a_4xb2_x', {}, (None, None), Batch(8, None, None)),
        (
            'a_4xb2_x',
            dict(train_dataloader=dict(batch_size=2)),
            (None, None),
            Batch(8, 4, 2),
        ),
        (
            'a_4xb2_x',
            dict(
                train_dataloader=dict(batch_size=2),
                auto_scale_lr=dict(base_batch_size=16),
            ),
            (1, None),
            Batch(16, 8, 1, 8),
        ),
    ],
)
def test_batch(name, settings, options, batch):
    assert read_batch(Config(settings), name, *options) == batch


def test_the_name_counts_in_a_package():
    # RTMDet trains with 256 images per step, and inherits a base of 16.
    cfg = Config(dict(auto_scale_lr=dict(base_batch_size=16)))
    name = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
    assert read_batch(cfg, name, 2, 1) == Batch(256, 1, 2)
    assert read_batch(cfg, '4xb2/mine.py', 2, 1) == Batch(16, 1, 2)
    mine = read_batch(cfg, 'my_8xb32.py', 2, 1)
    assert mine == Batch(16, 1, 2, doubt=256)


def test_epochs_keep_the_smallest_rate_below_the_largest():
    values, lr, note = scale(RTMDET, 2, 1)
    assert lr == '0.0005'
    assert note == (
        '1 GPU x 2 images = 2; lr 0.004 * 2 / 16 = 0.0005 '
        '(or is 0.004 meant for 256 images per step?)'
    )
    warm_up, decay = values['param_scheduler'][0]
    assert decay['eta_min'] == '2.5e-05'
    assert (warm_up['end'], decay['begin']) == ('1000', '150')


def test_images_per_step():
    assert Batch(16, 4, 1).images == 4
    assert Batch(16, None, 1).images is None
    assert Batch(16, 4, None).images is None


def test_count():
    assert (count(1, 'GPU'), count(8, 'GPU')) == ('1 GPU', '8 GPUs')


@pytest.mark.parametrize(
    ('batch_size', 'gpus', 'images', 'lr', 'note'),
    [
        (1, 1, 1, '0.00125', '1 GPU x 1 image = 1; lr 0.02 * 1 / 16 = 0.001'),
        (1, None, 8, '0.01', '8 GPUs x 1 image = 8; lr 0.02 * 8 / 16 = 0.01'),
        (None, 4, 8, '0.01', '4 GPUs x 2 images = 8; lr 0.02 * 8 / 16 = 0.0'),
    ],
    ids=['both', 'batch size', 'gpus'],
)
def test_learning_rate_of_epochs(batch_size, gpus, images, lr, note):
    values, new_lr, new_note = scale(MASK_RCNN, batch_size, gpus)
    assert new_lr == lr
    assert new_note.startswith(note)
    size = {'batch_size': str(batch_size or 2)}
    assert values == {
        'train_dataloader': (size, f'{new_note}.'),
        'auto_scale_lr': ({'base_batch_size': str(images)}, ''),
    }  # 12 epochs are as many images


def test_as_many_images_in_more_iterations():
    values, lr, note = scale(DEEPLAB, 1, 4)
    assert lr == '0.005'
    assert note == (
        '4 GPUs x 1 image = 4; lr 0.01 * 4 / 8 = 0.005; '
        '40000 * 8 / 4 = 80000 steps'
    )
    assert values['train_cfg'] == (
        {'max_iters': '80000', 'val_interval': '8000'},
        'Steps: 40000 * 8 / 4 = 80000.',
    )
    (scheduler,) = values['param_scheduler'][0]
    assert scheduler['end'] == '80000'
    assert scheduler['begin'] == '0'
    assert scheduler['eta_min'] == '5e-05'
    assert scheduler['power'] == '0.9'
    assert values['default_hooks'][0] == {'checkpoint': {'interval': '8000'}}


def test_milestones_of_iterations():
    values, *_ = scale(ITERATIONS, 1, 8)
    *_, decay = values['param_scheduler'][0]
    assert decay['milestones'] == '[120000, 160000]'
    assert decay['end'] == '180000'
    assert values['train_cfg'][0]['max_iters'] == '180000'


def test_batch_size_of_the_base_changes_nothing():
    values, lr, _ = scale(DEEPLAB, 2, 4)
    assert lr == '0.01'
    assert values.keys() == {'train_dataloader'}


def test_unknown_batch_size_leaves_the_learning_rate():
    cfg = Config.fromfile(MASK_RCNN)
    schedule = scale_schedule(cfg, Batch(None, 1, 1))
    assert schedule.statements == [
        ('', 'train_dataloader', {'batch_size': '1'})
    ]
    assert schedule.lr is None
    assert schedule.note == 'the base has no batch size to scale lr from'
    assert scale_schedule(cfg, Batch(None, 1, 2)).statements == []


def test_one_scheduler_and_intervals_that_change():
    # The scheduler of this config is no list.
    values, _, note = scale(MASK2FORMER, 1, 8)
    assert note.endswith('368750 * 16 / 8 = 737500 steps')
    assert values['train_cfg'][0] == {
        'max_iters': '737500',
        'val_interval': '10000',
        'dynamic_intervals': '[[730002, 737500]]',
    }
    (decay,) = values['param_scheduler'][0]
    assert decay['milestones'] == '[655556, 710184]'
