# Copyright (c) mmnorm contributors. All rights reserved.
import copy
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvAWS2d, ConvModule, ConvWS2d, build_norm_layer
from mmcv.cnn.bricks.wrappers import Conv2d
from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack
from mmengine.model.utils import revert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmnorm import BCN, GN, SN, ConvWS, SyncBN, fuse_norm_act
from mmnorm.deploy.fold import Folds, fold
from mmnorm.engine.runner.channels_last import use_channels_last
from tests.models import Heads, make_model, randomize

C = 8
CONVS = {
    'plain': partial(nn.Conv2d, padding=1),
    'without bias': partial(nn.Conv2d, bias=False),
    'reflect, grouped': partial(
        nn.Conv2d, padding=1, groups=2, padding_mode='reflect'
    ),
    'of mmcv': partial(Conv2d, stride=2),
    'ConvWS': partial(ConvWS, bias=False, dilation=2),
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


def make(*modules: nn.Module) -> nn.Module:
    return randomize(nn.Sequential(*modules)).double().eval()


def image(channels: int = C) -> Tensor:
    return torch.randn(2, channels, 9, 11, dtype=torch.float64)


@torch.no_grad()
def assert_folds(model: nn.Module, *inputs: Tensor) -> tuple:
    """Fold a copy and compare; the copy, and what was said."""
    folded = copy.deepcopy(model)
    folds = fold(folded, *inputs)
    torch.testing.assert_close(
        folded(*inputs), model(*inputs), rtol=1e-10, atol=1e-10
    )
    return folded, folds


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('conv', CONVS)
def test_conv_and_norm(conv, norm):
    model = make(CONVS[conv](C, C, 3), NORMS[norm](), nn.ReLU())
    if hasattr(model[0], 'weight_gamma'):
        for buffer in model[0].buffers():
            buffer += torch.rand_like(buffer)
    folded, folds = assert_folds(model, image())
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
    folded, folds = assert_folds(model, image())
    assert folds == Folds({'1': 'its batch part into 0'}, {})
    assert isinstance(folded[0], ModulatedDeformConv2dPack)


def test_scale_of_the_formula():
    model = make(nn.Conv2d(3, C, 1, bias=False), nn.BatchNorm2d(C))
    bn = model[1]
    gain = bn.weight / (bn.running_var + bn.eps).sqrt()
    weight = model[0].weight * gain[:, None, None, None]
    fold(model, image(3))
    torch.testing.assert_close(model[0].weight, weight)
    torch.testing.assert_close(model[0].bias, bn.bias - bn.running_mean * gain)


@pytest.mark.parametrize('conv', [ConvWS, ConvWS2d, ConvAWS2d])
def test_weight_standardization_alone(conv):
    """Needs no run, and changes no bit, also in float32."""
    model = make(conv(C, C, 3), GN(C, 4)).float()
    x = image().float()
    before = model(x)
    folds = fold(model)
    assert folds.folded == {'0': 'its standardized weight'}
    assert folds.kept == {'1': 'its statistics are those of each image'}
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)
    assert type(model[0]) is nn.Conv2d


class Net(nn.Module):
    """Modules, and what is done with them."""

    def __init__(self, forward: Callable, **modules: nn.Module) -> None:
        super().__init__()
        self.call = forward
        for name, module in modules.items():
            self.add_module(name, module)
        randomize(self).double().eval()

    def forward(self, x: Tensor) -> object:
        return self.call(self, x)


def conv(kind: type = nn.Conv2d) -> nn.Module:
    return kind(C, C, 3, padding=1)


def several_norms(self, x):
    x = self.conv(x)
    return self.norm(x) + self.other(x)


def several_convs(self, x):
    return self.norm(self.conv(x)) + self.norm(self.other(x))


def used_elsewhere(self, x):
    x = self.conv(x)
    return x.mean() + self.norm(x)


def changed_between(self, x):
    x = self.conv(x)
    F.relu_(x)
    return self.norm(x)


def in_between(self, x):
    return self.norm(self.conv(x) * 2)


def returned(self, x):
    x = self.conv(x)
    return x, self.norm(x)


def once_without(self, x):
    return self.norm(self.conv(x)) + self.conv(x)


def in_front(self, x):
    return self.conv(self.norm(x))


def plain(self, x):
    return self.norm(self.conv(x))


def with_activation(self, x):
    return self.norm(self.conv(x), torch.relu)


class OtherConv(nn.Conv2d):
    def forward(self, x):
        return super().forward(x).square()


class OtherNorm(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).square()


class OtherBCN(BCN):
    def forward(self, x):
        return super().forward(x).square()


def hooked(module: nn.Module) -> nn.Module:
    module.register_forward_hook(lambda module, x, y: 2 * y)
    return module


REFUSED = {
    'several norms': (
        several_norms,
        dict(conv=conv(), norm=nn.BatchNorm2d(C), other=BCN(C, 4)),
        'conv, before it, feeds several norms',
    ),
    'another norm that stays': (
        several_norms,
        dict(conv=conv(), norm=nn.BatchNorm2d(C), other=GN(C, 4)),
        'the output of conv, before it, is used elsewhere too',
    ),
    'several convolutions': (
        several_convs,
        dict(conv=conv(), norm=nn.BatchNorm2d(C), other=conv()),
        'its inputs come from several modules',
    ),
    'used elsewhere': (
        used_elsewhere,
        dict(conv=conv(), norm=nn.BatchNorm2d(C)),
        'the output of conv, before it, is used elsewhere too',
    ),
    'changed in place': (
        changed_between,
        dict(conv=conv(), norm=BCN(C, 4)),
        'the output of conv, before it, is used elsewhere too',
    ),
    'returned': (
        returned,
        dict(conv=conv(), norm=nn.BatchNorm2d(C)),
        'the output of conv, before it, is used elsewhere too',
    ),
    'once without the norm': (
        once_without,
        dict(conv=conv(), norm=nn.BatchNorm2d(C)),
        'the output of conv, before it, is used elsewhere too',
    ),
    'something in between': (
        in_between,
        dict(conv=conv(), norm=nn.BatchNorm2d(C)),
        'its input is not the output of one module alone',
    ),
    'norm in front': (
        in_front,
        dict(conv=conv(), norm=BCN(C, 4)),
        'its input is not the output of one module alone',
    ),
    'activation in the norm': (
        with_activation,
        dict(conv=conv(), norm=SyncBN(C)),
        'its input is not the output of one module alone',
    ),
    'after a linear layer': (
        plain,
        dict(conv=nn.Linear(11, 11), norm=nn.BatchNorm2d(C)),
        'its input comes from conv, a Linear',
    ),
    'transposed convolution': (
        plain,
        dict(conv=conv(nn.ConvTranspose2d), norm=nn.BatchNorm2d(C)),
        'its input comes from conv, a ConvTranspose2d',
    ),
    'deformable convolution without bias': (
        plain,
        dict(conv=conv(DeformConv2dPack), norm=nn.BatchNorm2d(C)),
        'its input comes from conv, a DeformConv2dPack',
    ),
    'unknown convolution': (
        plain,
        dict(conv=conv(OtherConv), norm=nn.BatchNorm2d(C)),
        'its input comes from conv, a OtherConv',
    ),
    'unknown batch norm': (
        plain,
        dict(conv=conv(), norm=OtherNorm(C)),
        'what a OtherNorm does is not known here',
    ),
    'unknown BCN': (
        plain,
        dict(conv=conv(), norm=OtherBCN(C, 4)),
        'what a OtherBCN does is not known here',
    ),
    'computed weight': (
        plain,
        dict(conv=nn.utils.spectral_norm(conv()), norm=nn.BatchNorm2d(C)),
        'the weight of the convolution is computed from other parameters',
    ),
    'hooks of the convolution': (
        plain,
        dict(conv=hooked(conv()), norm=nn.BatchNorm2d(C)),
        'it or conv, before it, has hooks',
    ),
    'hooks of the norm': (
        plain,
        dict(conv=conv(), norm=hooked(nn.BatchNorm2d(C))),
        'it or conv, before it, has hooks',
    ),
    'not called': (
        lambda self, x: self.conv(x),
        dict(conv=conv(), norm=nn.BatchNorm2d(C)),
        'it was not called',
    ),
    'no running statistics': (
        plain,
        dict(conv=conv(), norm=nn.BatchNorm2d(C, track_running_stats=False)),
        'it has no running statistics',
    ),
    'GN': (
        plain,
        dict(conv=conv(), norm=nn.GroupNorm(4, C)),
        'its statistics are those of each image',
    ),
    'SN': (
        plain,
        dict(conv=conv(), norm=SN(C)),
        'its statistics are those of each image',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_refused(case):
    forward, modules, reason = REFUSED[case]
    folded, folds = assert_folds(Net(forward, **modules), image())
    assert not folds.folded
    assert folds.kept['norm'] == reason
    assert type(folded.norm) is type(modules['norm'])


def test_shared_over_levels():
    """One pair on several maps, as in the heads of RetinaNet."""

    def levels(self, x):
        return self.norm(self.conv(x)), self.norm(self.conv(x[..., ::2]))

    model = Net(levels, conv=conv(ConvWS), norm=BCN(C, 4))
    _, folds = assert_folds(model, image())
    assert folds.folded == {
        'conv': 'its standardized weight',
        'norm': 'its batch part into conv',
    }


def test_one_module_in_two_places():
    pair = nn.Sequential(conv(ConvWS), nn.BatchNorm2d(C))
    model = make(nn.Sequential(*pair), nn.Sequential(*pair))
    folded, _ = assert_folds(model, image())
    assert folded[0][0] is folded[1][0]
    assert type(folded[0][0]) is nn.Conv2d
    assert isinstance(folded[1][1], nn.Identity)


def test_tied_weights():
    """Another convolution with the same weight keeps it."""
    model = make(conv(), nn.BatchNorm2d(C), conv())
    model[2].weight = model[0].weight
    assert_folds(model, image())


def test_modules_that_pass_their_input_on():
    model = make(conv(), nn.Identity(), nn.Dropout(), nn.BatchNorm2d(C))
    _, folds = assert_folds(model, image())
    assert folds.folded == {'3': 'into 0'}


def test_hooks_on_inputs_stay():
    """Such as those of channels_last."""
    model = make(conv(ConvWS), BCN(C, 4))
    use_channels_last(model)
    folded, folds = assert_folds(model, image())
    assert len(folds.folded) == 2
    assert folded(image()).is_contiguous(memory_format=torch.channels_last)


def test_norms_may_be_fused_with_activations_afterwards():
    model = make(conv(), BCN(C, 4), nn.ReLU(), conv(), SyncBN(C), nn.ReLU())
    folded, _ = assert_folds(model, image())
    expected = folded(image())
    assert fuse_norm_act(folded) == 1
    assert folded(image()).shape == expected.shape


@pytest.mark.parametrize('norm', [nn.BatchNorm2d(C), BCN(C, 4), SN(C)])
def test_training_mode(norm):
    model = make(conv(ConvWS), nn.Sequential(norm))
    getattr(norm, 'bn', norm).train()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"'1.0' is in training mode.*eval"):
        fold(model, image())
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert type(model[0]) is ConvWS


def test_a_run_that_fails_changes_nothing():
    model = make(conv(ConvWS), BCN(C, 4))
    with pytest.raises(RuntimeError):
        fold(model, image(C + 1))
    assert type(model[0]) is ConvWS
    assert isinstance(model[1], BCN)
    hooks = [m._forward_hooks or m._forward_pre_hooks for m in model.modules()]
    assert not any(hooks)


def test_efficient_conv_module_of_mmcv():
    """It leaves the norm out by itself, so that is not called."""
    model = make(ConvModule(C, C, 3, norm_cfg=dict(type='BN')))
    model[0].turn_on_efficient_conv_bn_eval()
    _, folds = assert_folds(model, image())
    assert folds.kept == {'0.bn': 'it was not called'}


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


# Config, how much of it folds, how much is kept.
WHOLE = {
    'detector, GN, WS': (
        'gn/mask-rcnn_r50_fpn_gn-ws-all_8xb2-2x_coco',
        69,
        69,
    ),
    'detector, BCN': ('bcn/mask-rcnn_r50_fpn_bcn-all_8xb1-2x_coco', 69, 0),
    'detector, SyncBN': (
        'syncbn/mask-rcnn_r50_fpn_syncbn-all_8xb1-2x_coco',
        69,
        0,
    ),
    'segmenter, BCN, WS': (
        'bcn/deeplabv3plus_r50-d8-ws_bcn-all_4xb2-40k_cityscapes-512x1024',
        120,
        1,
    ),
    'segmenter, SN': (
        'sn/deeplabv3_r50-d8_sn-all_4xb2-40k_cityscapes-512x1024',
        0,
        60,
    ),
    'segmenter, SyncBN': (
        'syncbn/deeplabv3_r50-d8_syncbn-all_4xb2-40k_cityscapes-512x1024',
        59,
        1,
    ),
}


@pytest.mark.parametrize('case', WHOLE)
@torch.no_grad()
def test_whole_model(case):
    name, num_folded, num_kept = WHOLE[case]
    # Both modes of BCN, which are the same in evaluation.
    batch = dict(estimate=False) if case == 'detector, BCN' else {}
    model = Heads(make_model(name, **batch))
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    expected = model(x)
    folded, folds = assert_folds(model, x)
    assert (len(folds.folded), len(folds.kept)) == (num_folded, num_kept)

    # In float32 the model itself is off by some, and the folded by no more.
    def error(of: nn.Module) -> float:
        pairs = zip(of(x.float()), expected, strict=True)
        return max((said - true).abs().max().item() for said, true in pairs)

    folded = copy.deepcopy(model).float()
    fold(folded, x.float())
    assert error(folded) < 3 * error(model.float()) + 1e-6
