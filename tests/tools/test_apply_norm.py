# Copyright (c) mmnorm contributors. All rights reserved.
"""Stock configs of mmdet and mmseg get the norm in every part."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from mmnorm import BCN, GN, MABN, SN, ConvWC, ConvWS, SyncBN, layers
from mmnorm.analysis.inspection import inspect_norms
from mmnorm.config.apply_norm import NORMS
from tests.config.test_apply_norm import DEEPLAB, MASK_RCNN, MMDET, MMSEG
from tests.paths import ROOT

TOOL = 'apply_norm.py'
BBOX, MASK = 'roi_head.bbox_head', 'roi_head.mask_head'
# The number of norms in each part.
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
OTHERS = [norm for norm in NORMS if norm not in LAYERS]


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    """Let weights need no memory, because nothing is computed here."""
    with torch.device('meta'):
        yield


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / 'out.py'


def test_every_norm_can_be_applied():
    # IC stands before its convolution, and no part of a config takes it there.
    others = {'ConvIC', 'ConvWC', 'ConvWS', 'IC', 'ScaledConvWS'}
    norms = {n for n in layers.__all__ if n[0].isupper()}
    assert {*NORMS} == norms - others


@pytest.mark.parametrize('norm', OTHERS)
def test_other_norms_everywhere(succeeds, out, norm):
    report = succeeds(TOOL, MASK_RCNN, out, '--norm', norm)
    _, model = build(out)
    layer = getattr(layers, norm)
    for path, number in PARTS[MASK_RCNN].items():
        assert count(model.get_submodule(path), layer) == number, path
    kinds = (_BatchNorm, _InstanceNorm, nn.GroupNorm, layer)
    assert count(model, kinds) == sum(PARTS[MASK_RCNN].values())
    doubled = 'the activation ReLU follows' in report
    assert doubled == (norm in ('EvoNormB0', 'EvoNormS0', 'FRN'))
    assert count(model, ConvWC) == (
        count(model, MABN) if norm == 'MABN' else 0
    )


def build(path: Path) -> tuple[Config, nn.Module]:
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return cfg, MODELS.build(cfg.model)


def count(module: nn.Module, kinds: type | tuple) -> int:
    return sum(isinstance(m, kinds) for m in module.modules())


@pytest.mark.parametrize('norm', LAYERS)
@pytest.mark.parametrize('base', PARTS, ids=lambda path: path.stem)
def test_norm_everywhere(succeeds, out, base, norm):
    report = succeeds(TOOL, base, out, '--norm', norm)
    cfg, model = build(out)
    counts = PARTS[base]
    # The head of one stage serves all levels of the pyramid.
    norms = {path: 'GN' if path == 'bbox_head' else norm for path in counts}
    for path, number in counts.items():
        layer = LAYERS[norms[path]]
        assert count(model.get_submodule(path), layer) == number, path
        listed = number if norms[path] == norm else 0
        assert f'{listed} in {path}' in report
    # There is no other norm, but the child of BCN is a batch norm.
    kinds = (_BatchNorm, _InstanceNorm, nn.GroupNorm)
    inner = sum(counts[path] for path in counts if norms[path] == 'BCN')
    assert count(model, kinds) == sum(counts.values()) + inner
    assert count(model, ConvWS) == 0
    # Nothing of the norm of the base stays.
    for path in counts:
        expected = dict(type=f'mmnorm.{norms[path]}')
        if norms[path] in ('BCN', 'GN'):
            expected['num_groups'] = 'auto'
        part = cfg.model
        for key in path.split('.'):
            part = part[key]
        for member in part if isinstance(part, list) else [part]:
            assert member.norm_cfg == expected, path
    if norm != 'GN':
        assert cfg.model.backbone.norm_eval is False
    assert all(p.requires_grad for p in model.backbone.layer4.parameters())


@pytest.mark.parametrize('base', PARTS, ids=lambda path: path.stem)
def test_weight_standardization(succeeds, out, base):
    succeeds(TOOL, base, out, '--norm', 'BCN', '--ws')
    _, model = build(out)
    for path, number in PARTS[base].items():
        part = model.get_submodule(path)
        in_mmseg_head = MMSEG in base.parents and path != 'backbone'
        assert count(part, ConvWS) == (0 if in_mmseg_head else number), path


@pytest.mark.parametrize('norm', LAYERS)
def test_norms_have_no_weight_decay(succeeds, out, norm):
    succeeds(TOOL, MASK_RCNN, out, '--norm', norm)
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
def test_written_file_is_short(succeeds, out, base):
    options = ('--ws', '--batch-size', 1, '--gpus', 4)
    succeeds(TOOL, base, out, '--norm', 'SN', *options)
    lines = out.read_text().splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines[lines.index('') :])) <= 79


def test_the_example_of_the_documentation(succeeds, out):
    base = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
    options = ('--ws', '--batch-size', 1, '--gpus', 1)
    report = succeeds(TOOL, base, out, '--norm', 'BCN', *options)
    assert f'```text\n{report}```' in DOC
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


def test_relative_base(succeeds, monkeypatch, tmp_path):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'base.py').write_text(f'_base_ = {str(MASK_RCNN)!r}\n')
    monkeypatch.chdir(tmp_path)
    out = tmp_path / 'sub/a.py'
    succeeds(TOOL, 'base.py', out, '--norm', 'GN')
    assert out.read_text().startswith("_base_ = '../base.py'\n")


@pytest.mark.parametrize(
    ('args', 'why'),
    [
        (('none.py', '--norm', 'BCN'), "'none.py' does not exist"),
        (('mmdet::none.py', '--norm', 'BCN'), 'does not exist'),
        (('none::none.py', '--norm', 'BCN'), "'none' is not installed"),
        (('README.md', '--norm', 'BCN'), "'README.md' cannot be read: Only"),
        ((MASK_RCNN, '--norm', 'XN'), "'XN' is not one of BCN, BKN, BN"),
        ((MASK_RCNN, '--norm', 'GN', '--gpus', 0), '--gpus is 0: give 1'),
        ((MASK_RCNN, '--norm', 'GN', '--batch-size', -1), 'size is -1: gi'),
        (
            (MMDET / '_base_/default_runtime.py', '--norm', 'GN'),
            'has no model',
        ),
        (
            (MMDET / '_base_/models/rpn_r50_fpn.py', '--norm', 'GN'),
            "model type 'ResNet' is in no registry",  # it has no scope
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_mistakes(fails, out, args, why):
    base, *options = args
    assert why in fails(TOOL, base, out, *options)
    assert not out.exists()


def test_ending(fails, tmp_path):
    out = tmp_path / 'out.txt'
    sentence = fails(TOOL, MASK_RCNN, out, '--norm', 'GN')
    assert sentence == f'{str(out)!r} has to end in .py'


def test_file_that_is_there_stays(fails, out):
    out.write_text('mine')
    sentence = fails(TOOL, MASK_RCNN, out, '--norm', 'GN')
    assert 'is there already' in sentence
    assert out.read_text() == 'mine'


def test_norm_that_cannot_be_changed(fails, out):
    # The neck takes no norm_cfg, but has batch norms.
    base = MMDET / 'centernet/centernet_r18_8xb16-crop512-140e_coco.py'
    sentence = fails(TOOL, base, out, '--norm', 'BCN')
    assert '6 norms of the model did not change' in sentence
    assert 'the first of them neck.deconv_layers.0.bn' in sentence


def test_base_that_does_not_build(fails, out, tmp_path):
    base = tmp_path / 'base.py'
    base.write_text(
        f'_base_ = {str(MASK_RCNN)!r}\nmodel = dict(neck=dict(chanels=1))\n'
    )
    sentence = fails(TOOL, base, out, '--norm', 'GN')
    assert f'{str(out)!r} is written, but does not build: FPN' in sentence
    assert "FPN does not take 'chanels'" in sentence


def test_defect_keeps_its_traceback(command, out, monkeypatch):
    def fail(self, *args, **kwargs) -> None:
        raise RuntimeError('a defect')

    monkeypatch.setattr(GN, '__init__', fail)
    with pytest.raises(RuntimeError, match='a defect'):
        command(TOOL, MASK_RCNN, out, '--norm', 'GN')


def test_head_of_all_levels_gets_gn(succeeds, out):
    base = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
    report = succeeds(TOOL, base, out, '--norm', 'BCN')
    assert 'mmnorm.GN, because it serves all levels of the pyramid' in report
    cfg, model = build(out)
    assert inspect_norms(model, cfg).mistakes == []


def test_norms_of_each_level(succeeds, out):
    base = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
    options = ('--batch-size', 2, '--gpus', 1)
    report = succeeds(TOOL, base, out, '--norm', 'BCN', *options)
    assert '12 in bbox_head' in report
    # auto_scale_lr of the base says 16 images per step.
    assert 'lr 0.004 * 2 / 256 = 3.125e-05' in report
