# Copyright (c) mmnorm contributors. All rights reserved.
"""One command lists the norms of a config, and nothing else."""

import json

import pytest
import torch
from mmengine.config import Config

from mmnorm.config.build_model import build_model
from tests.paths import CONFIG

TOOL = 'analysis_tools/inspect_norms.py'


def test_json_is_all_that_it_prints(tool):
    options = (
        'model.backbone.norm_eval=True',
        'model.backbone.frozen_stages=1',
    )
    done = tool(TOOL, CONFIG, '--json', '--cfg-options', *options)
    # mmengine logs a line per parameter, also to standard output, and a
    # warning per frozen one.
    found = json.loads(done.stdout)
    assert len(found['norms']) == 36
    first = found['norms'][0]
    assert (first['name'], first['type']) == ('backbone.bn1', 'BCN')
    assert found['norms'][-1]['weight decay'] == 0.0
    (mistake,) = found['mistakes']
    assert mistake['key'] == 'model.backbone.norm_eval=False'


def test_downloads_no_weights(command):
    # A model of mmseg names its weights outside of its backbone.
    ended = command(
        TOOL, 'mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py'
    )
    assert ended.status == 0
    assert '55 in backbone' in ended.out


@pytest.mark.parametrize(
    'config',
    [
        # The head takes queries instead of a pyramid.
        'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
        # Classes and boxes have the same convolutions at each level.
        'mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
        # The pyramid has too few pixels at the top for a small image.
        'mmdet::ddod/ddod_r50_fpn_1x_coco.py',
        # The head of the regions starts from a file, too.
        'mmdet::faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco.py',
    ],
)
def test_reads_every_kind_of_detector(command, config):
    ended = command(TOOL, config)
    assert ended.status == 0
    assert 'No known mistake.' in ended.out


def test_checkpoint_as_a_training_loads_it(command, tmp_path):
    model = build_model(Config.fromfile(CONFIG))
    weights = {f'module.{k}': v for k, v in model.state_dict().items()}
    weights['module.roi_head.bbox_head.fc_cls.bias'] = torch.ones(3)
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': weights}, path)
    ended = command(TOOL, CONFIG, path, '--json')
    assert all(norm['loaded'] for norm in json.loads(ended.out)['norms'])
    assert 'entries of another shape than in the model: 1, ' in ended.err
    ended = command(TOOL, CONFIG, 'https://host/weights.pth')
    assert 'is an address: download the file first' in ended.err
