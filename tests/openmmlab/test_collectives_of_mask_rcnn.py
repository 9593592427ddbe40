# Copyright (c) mmnorm contributors. All rights reserved.
"""The tests count the all-reduces in one step of Mask R-CNN."""

import pytest
from mmdet.testing import demo_mm_inputs
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope

from mmnorm import BCN, StepSync
from tests.distributed.test_sync import record_all_reduces


def count_in_step(rank: int, options: dict) -> list[int]:
    """Return numbers of layers and of all-reduces in each part of a step.

    The parts are the forward, the backward and the end of the step.
    """
    norm_cfg = dict(type='mmnorm.BCN', **options)
    cfg = get_config('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py').model
    cfg.backbone.update(init_cfg=None, frozen_stages=-1, norm_eval=False)
    cfg.roi_head.bbox_head.update(
        type='Shared4Conv1FCBBoxHead', conv_out_channels=256
    )
    for part in (
        cfg.backbone,
        cfg.neck,
        cfg.roi_head.bbox_head,
        cfg.roi_head.mask_head,
    ):
        part.norm_cfg = norm_cfg
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg)
    num_layers = sum(isinstance(m, BCN) for m in model.modules())
    after_step = StepSync(model)
    # The images differ in size, and the second image has no object.
    inputs = model.data_preprocessor(
        demo_mm_inputs(
            1,
            [[3, 64, 64 + 32 * rank]],
            num_items=[2 * (1 - rank)],
            num_classes=80,
            with_mask=True,
        ),
        True,
    )
    with record_all_reduces() as sizes:
        loss, _ = model.parse_losses(model(**inputs, mode='loss'))
        # Each loss in the log has an all-reduce of one number.
        forward = len(sizes) - sizes.count(1)
        sizes.clear()
        loss.backward()
        backward = len(sizes)
        after_step()
    return [num_layers, forward, backward, len(sizes) - backward]


@pytest.mark.parametrize(
    ('options', 'each_layer', 'after_step'),
    [
        (dict(), [1, 1], 0),
        (dict(estimate_grad='image'), [1, 0], 0),
        (dict(estimate=False), [1, 1], 0),
        (dict(sync='step'), [0, 0], 1),
    ],
    ids=['estimates', 'gradient of image', 'batch', 'step'],
)
def test_number_of_all_reduces(ranks, options, each_layer, after_step):
    first, second = ranks(2).run(count_in_step, options)
    num_layers = first[0]
    assert num_layers == 69
    expected = [num_layers * times for times in each_layer]
    assert first == second == [num_layers, *expected, after_step]
