# Copyright (c) mmnorm contributors. All rights reserved.
import copy

import pytest
import torch
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.model.weight_init import ConstantInit
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmnorm import BCN
from tests.layers.cases import make_input


def make_bn(num_features: int = 8) -> nn.BatchNorm2d:
    bn = nn.BatchNorm2d(num_features)
    for tensor in (bn.weight, bn.bias, bn.running_mean, bn.running_var):
        nn.init.uniform_(tensor, 0.5, 2)
    return bn


@pytest.mark.parametrize('channel_affine', ['group', 'channel'])
def test_plain_batch_norm_loads(channel_affine):
    bn = make_bn()
    norm = BCN(8, 4, channel_affine=channel_affine)
    nn.init.normal_(norm.weight)
    norm.load_state_dict(bn.state_dict())
    for key, value in bn.state_dict().items():
        torch.testing.assert_close(norm.bn.state_dict()[key], value)
    assert (norm.weight == 1).all()
    assert (norm.bias == 0).all()


@pytest.mark.parametrize('channel_affine', ['group', 'channel'])
@pytest.mark.parametrize('name', ['bn', 'pbn'])
def test_checkpoint_of_the_authors_loads(channel_affine, name):
    weight, bias = torch.rand(1, 4, 1), torch.rand(1, 4, 1)
    state = {'weight': weight, 'bias': bias}
    bn = make_bn().state_dict()
    state |= {f'{name}.{key}': value for key, value in bn.items()}
    state[f'{name}.estbn_moving_speed'] = torch.zeros(1)
    norm = BCN(8, 4, channel_affine=channel_affine)
    norm.load_state_dict(state)
    repeats = norm.weight.numel() // 4
    expected = weight.flatten().repeat_interleave(repeats)
    torch.testing.assert_close(norm.weight.detach(), expected)
    torch.testing.assert_close(norm.bn.running_var, bn['running_var'])
    assert set(state) == {
        'weight',
        'bias',
        *(f'{name}.{k}' for k in bn),
        f'{name}.estbn_moving_speed',
    }, 'the given state dict was changed'


def test_another_number_of_groups_does_not_load():
    with pytest.raises(RuntimeError, match='size mismatch for weight'):
        BCN(8, 4).load_state_dict(BCN(8, 2).state_dict())


def test_loads_inside_a_network():
    theirs = nn.Sequential(nn.Conv2d(3, 8, 1), make_bn(), nn.ReLU())
    ours = nn.Sequential(nn.Conv2d(3, 8, 1), BCN(8, 4), nn.ReLU())
    assert not any(ours.load_state_dict(theirs.state_dict()))
    torch.testing.assert_close(ours[1].bn.weight, theirs[1].weight)


def test_eval_of_the_child_freezes_statistics():
    # With norm_eval=True, mmdet looks for batch norms.
    norm = BCN(8, 4)
    for module in norm.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    before = copy.deepcopy(norm.state_dict())
    x = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(norm(x), copy.deepcopy(norm).eval()(x))
    torch.testing.assert_close(norm.state_dict(), before)
    assert norm.training


@pytest.mark.parametrize('norm_eval', [True, False])
@pytest.mark.parametrize('estimate', [True, False])
def test_converters_of_mmengine_leave_the_channel_part(norm_eval, estimate):
    norm = nn.Sequential(BCN(8, 4, estimate=estimate)).train(not norm_eval)
    x = torch.randn(2, 8, 4, 4)
    expected = copy.deepcopy(norm)(x)
    for convert in (
        lambda m: convert_sync_batchnorm(m, 'torch'),
        revert_sync_batchnorm,
    ):
        # mmengine forgets which layers are in eval, until the next train().
        norm = convert(norm).train(not norm_eval)
        assert isinstance(norm[0], BCN)
        torch.testing.assert_close(copy.deepcopy(norm)(x), expected)


def test_init_by_type_reaches_both_parts():
    norm = BCN(8, 4)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    init = ConstantInit(val=1, layer=['_BatchNorm', 'GroupNorm'])
    init(nn.Sequential(norm))
    assert (norm.weight == 1).all()


def test_exception():
    with pytest.raises(ValueError, match="channel_affine='plane': set it to"):
        BCN(8, 4, channel_affine='plane')
    with pytest.raises(ValueError, match='num_groups=3 does not divide'):
        BCN(8, 3)


@pytest.mark.parametrize(
    ('num_images', 'momentum'), [(1, 0.0125), (4, 0.05), (8, 0.1), (64, 0.1)]
)
def test_fewer_images_move_the_estimates_less(num_images, momentum):
    x = make_input((num_images, 8, 5, 3)).float()
    by_images, fixed = (
        BCN(8, 4),
        BCN(8, 4, momentum=momentum, base_batch_size=None),
    )
    torch.testing.assert_close(by_images(x), fixed(x), rtol=0, atol=0)
    for actual, expected in zip(
        by_images.buffers(), fixed.buffers(), strict=True
    ):
        assert torch.equal(actual, expected)
