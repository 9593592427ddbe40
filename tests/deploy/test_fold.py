# Copyright (c) mmnorm contributors. All rights reserved.
"""Folded networks compute what they computed before."""

import copy
import subprocess
import sys
from functools import partial

import pytest
import torch
from mmcv.cnn import ConvAWS2d, ConvWS2d, build_norm_layer
from mmcv.cnn.bricks.wrappers import Conv2d
from mmcv.ops import ModulatedDeformConv2dPack
from mmengine.model.utils import revert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmnorm import (
    BCN,
    GN,
    SN,
    ConvWS,
    ScaledConvWS,
    SyncBN,
    fuse_norm_act,
)
from mmnorm.deploy.fold import Folds, fold
from mmnorm.engine.runner.channels_last import use_channels_last
from tests.models import Heads, make_model

from .networks import C, Net, assert_folds, conv, images, make

CONVS = {
    'plain': partial(nn.Conv2d, padding=1),
    'without bias': partial(nn.Conv2d, bias=False),
    'reflect, grouped': partial(
        nn.Conv2d, padding=1, groups=2, padding_mode='reflect'
    ),
    'of mmcv': partial(Conv2d, stride=2),
    'ConvWS': partial(ConvWS, bias=False, dilation=2),
    'ConvWS, epsilon in the root': partial(
        ConvWS, unbiased=False, eps_inside_root=True
    ),
    'scaled ConvWS': partial(ScaledConvWS, gamma=1.7),
    'ConvWS of mmcv': ConvWS2d,
    'ConvAWS of mmcv': ConvAWS2d,
}
NORMS = {
    'BN': partial(nn.BatchNorm2d, C),
    'BN without affine': partial(nn.BatchNorm2d, C, affine=False),
    'SyncBN': partial(SyncBN, C),
    'SyncBN of torch': partial(nn.SyncBatchNorm, C),
    'SyncBN of mmcv': lambda: build_norm_layer(dict(type='SyncBN'), C)[1],
    'SyncBN of mmcv, reverted': lambda: revert_sync_batchnorm(
        nn.SyncBatchNorm(C)
    ),
    'IN with running statistics': partial(
        nn.InstanceNorm2d, C, affine=True, track_running_stats=True
    ),
    'BCN': partial(BCN, C, 4),
    'BCN batch': partial(BCN, C, 2, estimate=False, eps=1e-2),
    'BCN per channel': partial(BCN, C, 4, channel_affine='channel'),
}


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('conv', CONVS)
def test_conv_and_norm(conv, norm):
    model = make(CONVS[conv](C, C, 3), NORMS[norm](), nn.ReLU())
    if hasattr(model[0], 'weight_gamma'):
        for buffer in model[0].buffers():
            buffer += torch.rand_like(buffer)
    folded, folds = assert_folds(model, images())
    assert not folds.kept
    assert isinstance(model[1], BCN) == isinstance(folded[1], GN)
    assert not any(isinstance(m, _BatchNorm) for m in folded.modules())
    assert type(folded[0]) in (nn.Conv2d, Conv2d)
    keys = {'0.weight', '0.bias'}
    if isinstance(model[1], BCN):
        keys |= {'1.weight', '1.bias'}
    assert set(folded.state_dict()) == keys


@pytest.mark.parametrize('dims', [1, 3])
def test_other_dimensions(dims):
    conv, norm = (
        getattr(nn, f'{name}{dims}d') for name in ('Conv', 'BatchNorm')
    )
    model = make(conv(4, C, 3), norm(C))
    x = torch.randn(2, 4, *dims * [5], dtype=torch.float64)
    _, folds = assert_folds(model, x)
    assert folds == Folds({'1': 'into 0'}, {})


def test_deformable_convolution():
    conv = ModulatedDeformConv2dPack(C, C, 3, padding=1, bias=False)
    nn.init.normal_(conv.conv_offset.weight, std=0.1)
    model = make(conv, BCN(C, 4))
    folded, folds = assert_folds(model, images())
    assert folds == Folds({'1': 'its batch part into 0'}, {})
    assert isinstance(folded[0], ModulatedDeformConv2dPack)


def test_formula():
    model = make(nn.Conv2d(3, C, 1, bias=False), nn.BatchNorm2d(C))
    bn = model[1]
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    weight = model[0].weight * scale[:, None, None, None]
    fold(model, images(3))
    torch.testing.assert_close(model[0].weight, weight)
    bias = bn.bias - bn.running_mean * scale
    torch.testing.assert_close(model[0].bias, bias)


@pytest.mark.parametrize(
    'conv',
    [
        ConvWS,
        partial(ConvWS, eps_inside_root=True),
        ScaledConvWS,
        ConvWS2d,
        ConvAWS2d,
    ],
)
def test_weight_standardization_without_batch_norm(conv):
    """Weights fold without a run, and to the same bits in float32."""
    model = make(conv(C, C, 3), GN(C, 4)).float()
    x = images().float()
    before = model(x)
    folds = fold(model)
    assert folds.folded == {'0': 'its standardized weight'}
    assert folds.kept == {'1': 'its statistics are those of each image'}
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)
    assert type(model[0]) is nn.Conv2d
    assert set(model[0].state_dict()) == {'weight', 'bias'}
    assert 'eps' not in repr(model[0])


def test_shared_over_levels():
    """The heads of RetinaNet call a pair once per level."""

    def levels(self, x):
        return self.norm(self.conv(x)), self.norm(self.conv(x[..., ::2]))

    model = Net(levels, conv=conv(ConvWS), norm=BCN(C, 4))
    _, folds = assert_folds(model, images())
    assert folds.folded == {
        'conv': 'its standardized weight',
        'norm': 'its batch part into conv',
    }


def test_module_with_two_parents():
    pair = nn.Sequential(conv(ConvWS), nn.BatchNorm2d(C))
    model = make(nn.Sequential(*pair), nn.Sequential(*pair))
    folded, _ = assert_folds(model, images())
    assert folded[0][0] is folded[1][0]
    assert type(folded[0][0]) is nn.Conv2d
    assert isinstance(folded[1][1], nn.Identity)


def test_tied_weights():
    """Another convolution that shares the weight keeps the old weight."""
    model = make(conv(), nn.BatchNorm2d(C), conv())
    model[2].weight = model[0].weight
    assert_folds(model, images())


def test_modules_that_return_their_input():
    model = make(conv(), nn.Identity(), nn.Dropout(), nn.BatchNorm2d(C))
    _, folds = assert_folds(model, images())
    assert folds.folded == {'3': 'into 0'}


def test_hooks_of_channels_last_stay():
    model = make(conv(ConvWS), BCN(C, 4))
    use_channels_last(model)
    folded, folds = assert_folds(model, images())
    assert len(folds.folded) == 2
    assert folded(images()).is_contiguous(memory_format=torch.channels_last)


def test_folded_norms_can_be_fused_with_activations():
    model = make(conv(), BCN(C, 4), nn.ReLU(), conv(), SyncBN(C), nn.ReLU())
    folded, _ = assert_folds(model, images())
    expected = folded(images())
    assert fuse_norm_act(folded) == 1
    assert folded(images()).shape == expected.shape


@pytest.mark.parametrize('norm', [nn.BatchNorm2d(C), BCN(C, 4), SN(C)])
def test_training_mode(norm):
    model = make(conv(ConvWS), nn.Sequential(norm))
    getattr(norm, 'bn', norm).train()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"'1.0' is in training mode.*eval"):
        fold(model, images())
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert type(model[0]) is ConvWS


def test_failing_run_changes_nothing():
    model = make(conv(ConvWS), BCN(C, 4))
    with pytest.raises(RuntimeError):
        fold(model, images(C + 1))
    assert type(model[0]) is ConvWS
    assert isinstance(model[1], BCN)
    hooks = [m._forward_hooks or m._forward_pre_hooks for m in model.modules()]
    assert not any(hooks)


def test_needs_no_mmcv():
    code = (
        'import sys\n'
        "for name in ('mmcv', 'mmdet', 'mmseg'):\n"
        '    sys.modules[name] = None\n'
        'import importlib.util as util\n'
        'find = util.find_spec\n'
        'util.find_spec = lambda name, *a: (\n'
        "    None if name == 'mmcv' else find(name, *a))\n"
        'import torch\n'
        'from mmnorm import BCN, ConvWS\n'
        'from mmnorm.deploy.fold import fold\n'
        'model = torch.nn.Sequential(ConvWS(3, 8, 3), BCN(8, 4)).eval()\n'
        'assert len(fold(model, torch.rand(1, 3, 5, 5)).folded) == 2\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


# A config, the number of folded modules, and the number of kept norms.
WHOLE = {
    'detector, BN': ('mini/mask-rcnn_r18_fpn_bn-all_1xb1-3e_mini-coco', 36, 0),
    'detector, BCN': ('bcn/mask-rcnn_r50_fpn_bcn-all_8xb1-2x_coco', 69, 0),
    'detector, GN, WS': (
        'mini/mask-rcnn_r18_fpn_gn-ws-all_1xb1-3e_mini-coco',
        36,
        36,
    ),
    'segmenter, BCN, WS': (
        'mini/deeplabv3_r18-d8-ws_bcn-all_1xb1-2k_mini-cityscapes',
        48,
        1,
    ),
    'segmenter, SN': (
        'mini/deeplabv3_r18-d8_sn-all_1xb1-2k_mini-cityscapes',
        0,
        28,
    ),
    'segmenter, SyncBN': (
        'mini/deeplabv3_r18-d8_syncbn-all_1xb1-2k_mini-cityscapes',
        27,
        1,
    ),
    'segmenter, depthwise convolutions': (
        'bcn/deeplabv3plus_r50-d8_bcn-all_4xb2-40k_cityscapes-512x1024',
        67,
        1,
    ),
}


@pytest.mark.parametrize('case', WHOLE)
@torch.no_grad()
def test_whole_model(case):
    name, num_folded, num_kept = WHOLE[case]
    # The two modes of BCN are the same in evaluation.
    batch = dict(estimate=False) if case == 'detector, BCN' else {}
    model = Heads(make_model(name, **batch))
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    expected = model(x)
    folded, folds = assert_folds(model, x)
    assert (len(folds.folded), len(folds.kept)) == (num_folded, num_kept)

    # In float32, folding may add no more to the error of the model.
    def error(network: nn.Module) -> float:
        pairs = zip(network(x.float()), expected, strict=True)
        return max((y - true).abs().max().item() for y, true in pairs)

    folded = copy.deepcopy(model).float()
    fold(folded, x.float())
    assert error(folded) < 3 * error(model.float()) + 1e-6
