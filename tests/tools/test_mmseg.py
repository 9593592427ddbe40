# Copyright (c) mmnorm contributors. All rights reserved.
"""tools/train.py and tools/test.py on a segmenter."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CONFIG = """
_base_ = 'mmseg::_base_/default_runtime.py'

norm_cfg = dict(type='BCN', num_groups=8)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64)),
    backbone=dict(
        type='ResNet', depth=18, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4),
        norm_cfg=norm_cfg),
    decode_head=dict(
        type='ASPPHead', in_channels=512, in_index=3, channels=32,
        dilations=(1, 3), num_classes=2, norm_cfg=norm_cfg),
    test_cfg=dict(mode='whole'),
)
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
pipeline = load + [dict(type='PackSegInputs')]
train_dataloader = dict(
    batch_size=1, num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BaseSegDataset', data_root='{root}', pipeline=pipeline,
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        metainfo=dict(classes=('dark', 'bright'))))
val_dataloader = dict(
    batch_size=1, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=train_dataloader['dataset'])
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
train_cfg = dict(type='IterBasedTrainLoop', max_iters=40, val_interval=40)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
randomness = dict(seed=0)
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=1.0, keep_ratio=True)],
            [
                dict(type='RandomFlip', prob=0.0, direction='horizontal'),
                dict(type='RandomFlip', prob=1.0, direction='horizontal'),
            ],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ]),
]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=5),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=40),
    visualization=dict(type='SegVisualizationHook', interval=1))
"""


@pytest.fixture
def config(tmp_path) -> Path:
    """Write a config, and images of bright squares on dark noise."""
    rng = np.random.default_rng(0)
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for i in range(4):
        image = rng.integers(0, 90, (64, 64, 3), dtype=np.uint8)
        label = np.zeros((64, 64), np.uint8)
        y, x = rng.integers(0, 32, 2)
        image[y : y + 32, x : x + 32] += 150
        label[y : y + 32, x : x + 32] = 1
        Image.fromarray(image).save(tmp_path / f'images/{i}.jpg')
        Image.fromarray(label).save(tmp_path / f'labels/{i}.png')
    path = tmp_path / 'config.py'
    path.write_text(CONFIG.replace('{root}', str(tmp_path)))
    return path


def test_train_and_test_a_segmenter(tool, config):
    work_dir = config.parent / 'work_dir'
    result = tool('train.py', config, '--work-dir', work_dir)
    assert result.returncode == 0, result.stderr
    checkpoint = work_dir / 'iter_40.pth'
    tested, painted = work_dir / 'tested', config.parent / 'painted'
    result = tool(
        'test.py',
        config,
        checkpoint,
        '--work-dir',
        tested,
        '--show-dir',
        painted,
        '--tta',
    )
    assert result.returncode == 0, result.stderr
    scores = json.loads(next(tested.glob('*/*.json')).read_text())
    assert scores['mIoU'] > 60  # one class everywhere would be below 40
    assert len(list(painted.rglob('*.png'))) == 4
