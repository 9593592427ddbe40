# Copyright (c) mmnorm contributors. All rights reserved.
"""Stock configs of mmdet and mmseg get the norm in every part."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from mmnorm import BCN, GN, SN, ConvWS, SyncBN
from tests.config.test_apply_norm import DEEPLAB, MASK_RCNN, MMDET, MMSEG
from tests.paths import ROOT

BBOX, MASK = 'roi_head.bbox_head', 'roi_head.mask_head'
# The layers of each part that has norms.
PARTS = {
    MASK_RCNN: {'backbone': 53, 'neck': 8, BBOX: 4, MASK: 4},
    MMDET / 'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py': {
        'backbone': 53,
        'neck': 8,
        BBOX: 12,
        MASK: 12,
    },
    MMDET / 'retinanet/retinanet_r50_fpn_1x_coco.py': {
        'backbone': 53,
        'neck': 8,
        'bbox_head': 8,
    },
    MMDET / 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': {
        'backbone': 53,
        'neck': 8,
        'bbox_head': 8,
    },
    DEEPLAB: {'backbone': 55, 'decode_head': 14, 'auxiliary_head': 1},
    MMSEG / 'upernet/upernet_r50_4xb2-40k_cityscapes-512x1024.py': {
        'backbone': 55,
        'decode_head': 12,
        'auxiliary_head': 1,
    },
}
DOC = (ROOT / 'docs/your-own-config.md').read_text()
LAYERS = dict(BCN=BCN, GN=GN, SN=SN, SyncBN=SyncBN)


@pytest.fixture
def apply_norm(monkeypatch, capsys, tmp_path):
    """Run the tool; its exit status, what it says, and what it wrote."""

    def run(base, *args, out='out.py') -> tuple[int, str, Path]:
        path = tmp_path / out
        argv = ['apply_norm.py', base, path, *args]
        monkeypatch.setattr(sys, 'argv', [str(arg) for arg in argv])
        status = 0
        # Nothing is computed here, so no weight needs memory.
        with torch.device('meta'):
            try:
                runpy.run_path(
                    str(ROOT / 'tools/apply_norm.py'), run_name='__main__'
                )
            except SystemExit as end:
                status = end.code
        said = capsys.readouterr()
        return status, said.err if status else said.out, path

    return run


def build(path: Path) -> tuple[Config, nn.Module]:
    cfg = Config.fromfile(path)
    with (
        torch.device('meta'),
        DefaultScope.overwrite_default_scope(cfg.default_scope),
    ):
        return cfg, MODELS.build(cfg.model)


def count(module: nn.Module, kinds: type | tuple) -> int:
    return sum(isinstance(m, kinds) for m in module.modules())


@pytest.mark.parametrize('norm', LAYERS)
@pytest.mark.parametrize('base', PARTS, ids=lambda path: path.stem)
def test_norm_everywhere(apply_norm, base, norm):
    status, said, out = apply_norm(base, '--norm', norm)
    assert status == 0, said
    cfg, model = build(out)
    layer, counts = LAYERS[norm], PARTS[base]
    for path, number in counts.items():
        assert count(model.get_submodule(path), layer) == number, path
        assert f'{number} in {path}' in said
    # And no other; the child of BCN is a batch norm.
    kinds = (_BatchNorm, _InstanceNorm, nn.GroupNorm)
    inner = 2 if norm == 'BCN' else 1
    assert count(model, kinds) == inner * sum(counts.values())
    assert count(model, ConvWS) == 0
    # Nothing of the norm of the base is left.
    expected = dict(type=f'mmnorm.{norm}')
    if norm in ('BCN', 'GN'):
        expected['num_groups'] = 'auto'
    for path in counts:
        part = cfg.model
        for key in path.split('.'):
            part = part[key]
        for member in part if isinstance(part, list) else [part]:
            assert member.norm_cfg == expected, path
    if norm != 'GN':
        assert cfg.model.backbone.norm_eval is False
    assert all(p.requires_grad for p in model.backbone.layer4.parameters())


@pytest.mark.parametrize('base', PARTS, ids=lambda path: path.stem)
def test_weight_standardization(apply_norm, base):
    status, said, out = apply_norm(base, '--norm', 'BCN', '--ws')
    assert status == 0, said
    _, model = build(out)
    for path, number in PARTS[base].items():
        part = model.get_submodule(path)
        in_mmseg_head = MMSEG in base.parents and path != 'backbone'
        assert count(part, ConvWS) == (0 if in_mmseg_head else number), path


@pytest.mark.parametrize('norm', LAYERS)
def test_norms_have_no_weight_decay(apply_norm, norm):
    status, said, out = apply_norm(MASK_RCNN, '--norm', norm)
    assert status == 0, said
    cfg, model = build(out)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decayed = {
        parameter
        for group in optimizer.param_groups
        for parameter in group['params']
        if group['weight_decay'] != 0
    }
    assert model.neck.lateral_convs[0].conv.weight in decayed
    for module in model.modules():
        if isinstance(module, LAYERS[norm]):
            assert decayed.isdisjoint(module.parameters())


@pytest.mark.parametrize('base', PARTS, ids=lambda path: path.stem)
def test_what_it_writes_is_a_short_file_in_the_style_of_this_one(
    apply_norm, base
):
    options = ('--ws', '--batch-size', 1, '--gpus', 4)
    _, _, out = apply_norm(base, '--norm', 'SN', *options)
    lines = out.read_text().splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines[lines.index('') :])) <= 79


def test_the_example_of_the_documentation(apply_norm):
    base = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
    options = ('--ws', '--batch-size', 1, '--gpus', 1)
    status, said, out = apply_norm(base, '--norm', 'BCN', *options)
    assert status == 0, said
    assert f'```text\n{said}```' in DOC
    assert f'```python\n{out.read_text()}```' in DOC


def test_configs_of_the_documentation(tmp_path):
    configs = re.findall(r'```python\n(_base_.*?)```', DOC, re.DOTALL)
    assert len(configs) == 3
    for text in configs:
        path = tmp_path / 'config.py'
        path.write_text(text)
        _, model = build(path)
        assert count(model, BCN) > 53
        assert count(model, (_BatchNorm, nn.GroupNorm)) == 2 * count(
            model, BCN
        )


def test_relative_base(apply_norm, monkeypatch, tmp_path):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'base.py').write_text(f'_base_ = {str(MASK_RCNN)!r}\n')
    monkeypatch.chdir(tmp_path)
    status, said, out = apply_norm('base.py', '--norm', 'GN', out='sub/a.py')
    assert status == 0, said
    assert out.read_text().startswith("_base_ = '../base.py'\n")


@pytest.mark.parametrize(
    ('args', 'why'),
    [
        (('none.py', '--norm', 'BCN'), "'none.py' does not exist"),
        (('mmdet::none.py', '--norm', 'BCN'), 'does not exist'),
        (('nothing::none.py', '--norm', 'BCN'), "no package 'nothing' here"),
        ((MASK_RCNN, '--norm', 'BN'), "'BN' is not one of BCN, GN, SN"),
        ((MASK_RCNN, '--norm', 'GN', '--gpus', 0), '--gpus is 0: give 1'),
        (
            (MMDET / '_base_/default_runtime.py', '--norm', 'GN'),
            'has no model',
        ),
    ],
    ids=['path', 'file', 'package', 'norm', 'gpus', 'model'],
)
def test_mistakes(apply_norm, args, why):
    status, said, out = apply_norm(*args)
    assert status == 1
    assert said.startswith('apply_norm.py: error: ')
    assert said.count('\n') == 1
    assert why in said
    assert not out.exists()


def test_file_that_is_there_stays(apply_norm, tmp_path):
    (tmp_path / 'out.py').write_text('mine')
    status, said, out = apply_norm(MASK_RCNN, '--norm', 'GN')
    assert status == 1
    assert 'is there already' in said
    assert out.read_text() == 'mine'


def test_norm_that_cannot_be_changed(apply_norm):
    # Its neck takes no norm_cfg, but has batch norms.
    base = MMDET / 'centernet/centernet_r18_8xb16-crop512-140e_coco.py'
    status, said, _ = apply_norm(base, '--norm', 'BCN')
    assert status == 1
    assert '6 norms of the model stay what they were' in said
    assert 'the first of them neck.deconv_layers.0.bn' in said
