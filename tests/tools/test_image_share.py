# Copyright (c) mmnorm contributors. All rights reserved.
"""tools/test.py gives an image a share in the statistics of batch norms."""

import pickle

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from tests.models import make_model
from tests.paths import ROOT

NAME = 'mini/mask-rcnn_r18_fpn_bn-all_1xb1-3e_mini-coco'
CONFIG = ROOT / f'configs/{NAME}.py'


def test_share_of_each_image(succeeds, options, tmp_path):
    checkpoint = tmp_path / 'checkpoint.pth'
    torch.save({'state_dict': make_model(NAME).state_dict()}, checkpoint)
    boxes = {}
    for share in (None, 0.0, 0.3):
        out = tmp_path / f'{share}.pkl'
        extra = [] if share is None else [f'--image-share={share}']
        where = ('--work-dir', tmp_path / str(share), '--out', out)
        succeeds('test.py', CONFIG, checkpoint, *where, *extra, *options)
        DefaultScope._instance_dict.clear()
        images = pickle.loads(out.read_bytes())
        boxes[share] = np.concatenate(
            [image['pred_instances']['scores'] for image in images]
        )
    np.testing.assert_allclose(boxes[0.0], boxes[None], rtol=1e-3, atol=1e-4)
    assert np.abs(boxes[0.3] - boxes[None]).max() > 1e-2
    log = next((tmp_path / '0.3').glob('*/*.log')).read_text()
    assert '36 norms mix statistics of the image' in log


@pytest.mark.parametrize(
    ('config', 'arguments', 'why'),
    [
        (CONFIG, ['--image-share=2'], 'give a number from 0 to 1'),
        (CONFIG, ['--image-share=0.1', '--fold'], 'leave out --image-share'),
        (
            str(CONFIG).replace('_bn-all', '_gn-all'),
            ['--image-share=0.1'],
            'no batch norm with running statistics',
        ),
    ],
)
def test_mistakes(fails, options, tmp_path, config, arguments, why):
    checkpoint = tmp_path / 'checkpoint.pth'
    torch.save({'state_dict': {}}, checkpoint)
    where = ('--work-dir', tmp_path)
    assert why in fails(
        'test.py', config, checkpoint, *where, *arguments, *options
    )
