# Copyright (c) mmnorm contributors. All rights reserved.
"""Norms that cannot be folded stay, and the reason is reported."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmcv.ops import DeformConv2dPack
from torch import nn

from mmnorm import BCN, GN, SN, SyncBN
from mmnorm.deploy.fold import fold

from .networks import C, Net, assert_folds, conv, images, make


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


@dataclass
class Output:
    raw: torch.Tensor
    normalized: torch.Tensor


def returned_in_a_data_class(self, x):
    x = self.conv(x)
    return Output(x, self.norm(x))


def by_keyword(self, x):
    return self.norm(input=self.conv(x))


def once_without_norm(self, x):
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


KEPT = {
    'several norms': (
        several_norms,
        dict(conv=conv(), norm=nn.BatchNorm2d(C), other=BCN(C, 4)),
        'the output of conv goes into several norms',
    ),
    'another norm that stays': (
        several_norms,
        dict(conv=conv(), norm=nn.BatchNorm2d(C), other=GN(C, 4)),
        'the output of conv is used elsewhere, too',
    ),
    'several convolutions': (
        several_convs,
        dict(conv=conv(), norm=nn.BatchNorm2d(C), other=conv()),
        'its inputs come from several modules',
    ),
    'used elsewhere': (
        used_elsewhere,
        dict(conv=conv(), norm=nn.BatchNorm2d(C)),
        'the output of conv is used elsewhere, too',
    ),
    'changed in place': (
        changed_between,
        dict(conv=conv(), norm=BCN(C, 4)),
        'the output of conv is used elsewhere, too',
    ),
    'by keyword': (
        by_keyword,
        dict(conv=conv(), norm=nn.BatchNorm2d(C)),
        'its input is not the output of a single module',
    ),
    'returned': (
        returned,
        dict(conv=conv(), norm=nn.BatchNorm2d(C)),
        'the output of conv is used elsewhere, too',
    ),
    'once without the norm': (
        once_without_norm,
        dict(conv=conv(), norm=nn.BatchNorm2d(C)),
        'the output of conv is used elsewhere, too',
    ),
    'something in between': (
        in_between,
        dict(conv=conv(), norm=nn.BatchNorm2d(C)),
        'its input is not the output of a single module',
    ),
    'norm in front': (
        in_front,
        dict(conv=conv(), norm=BCN(C, 4)),
        'its input is not the output of a single module',
    ),
    'activation in the norm': (
        with_activation,
        dict(conv=conv(), norm=SyncBN(C)),
        'its input is not the output of a single module',
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
        'fold does not know its class OtherNorm',
    ),
    'unknown BCN': (
        plain,
        dict(conv=conv(), norm=OtherBCN(C, 4)),
        'fold does not know its class OtherBCN',
    ),
    'computed weight': (
        plain,
        dict(conv=nn.utils.spectral_norm(conv()), norm=nn.BatchNorm2d(C)),
        'the weight of the convolution is computed from other parameters',
    ),
    'hooks of the convolution': (
        plain,
        dict(conv=hooked(conv()), norm=nn.BatchNorm2d(C)),
        'it or conv has hooks',
    ),
    'hooks of the norm': (
        plain,
        dict(conv=conv(), norm=hooked(nn.BatchNorm2d(C))),
        'it or conv has hooks',
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


@pytest.mark.parametrize('case', KEPT)
def test_kept_norms(case):
    forward, modules, reason = KEPT[case]
    folded, folds = assert_folds(Net(forward, **modules), images())
    assert not folds.folded
    assert folds.kept['norm'] == reason
    assert type(folded.norm) is type(modules['norm'])


def test_returned_in_a_data_class():
    modules = dict(conv=conv(), norm=nn.BatchNorm2d(C))
    folds = fold(Net(returned_in_a_data_class, **modules).eval(), images())
    assert folds.kept == {'norm': 'the output of conv is used elsewhere, too'}


def test_efficient_conv_module_of_mmcv():
    """This module of mmcv does not call its norm in evaluation."""
    model = make(ConvModule(C, C, 3, norm_cfg=dict(type='BN')))
    model[0].turn_on_efficient_conv_bn_eval()
    _, folds = assert_folds(model, images())
    assert folds.kept == {'0.bn': 'it was not called'}
