# Copyright (c) mmnorm contributors. All rights reserved.
"""A sparse switchable norm becomes the norm that it has chosen."""

import copy

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmnorm import BN, IN, LN, SSN
from mmnorm.config.build_model import build_model
from mmnorm.deploy.chosen_norm import deploy_chosen
from mmnorm.deploy.fold import fold
from tests.paths import ROOT

CONFIG = ROOT / (
    'configs/mini/mask-rcnn_r18_fpn_ssn-nobn-all_1xb1-3e_mini-coco.py'
)


def make_sparse(of_mean: int, of_var: int, **options) -> nn.Module:
    """Return a network whose SSN is at the end of its schedule."""
    norm = SSN(8, **options)
    norm.radius.fill_(1)
    norm.mean_weight.data[of_mean] += 0.1
    norm.var_weight.data[of_var] += 0.1
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    if norm.use_bn:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU()).double().eval()


@pytest.mark.parametrize(('index', 'kind'), [(0, IN), (1, LN), (2, BN)])
def test_becomes_the_norm_it_has_chosen(index, kind):
    model = make_sparse(index, index, eps=1e-3)
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    expected = model(x)
    assert deploy_chosen(model) == {'1': kind.__name__}
    assert type(model[1]) is kind
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


def test_batch_norm_goes_into_the_convolution():
    model = make_sparse(2, 2)
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    expected = model(x)
    deploy_chosen(model)
    assert fold(model, x).folded == {'1': 'into 0'}
    torch.testing.assert_close(model(x), expected)


def test_without_batch_statistics():
    model = make_sparse(1, 1, use_bn=False)
    assert deploy_chosen(model) == {'1': 'LN'}


@pytest.mark.parametrize(('radius', 'of_var'), [(1, 0), (0.5, 1)])
def test_more_than_one_set_stays(radius, of_var):
    model = make_sparse(1, of_var)
    model[1].radius.fill_(radius)
    norm = model[1]
    assert deploy_chosen(model) == {'1': 'SSN'}
    assert model[1] is norm


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="norm '1' is in training mode"):
        deploy_chosen(make_sparse(1, 1).train())


def test_every_layer_has_chosen_at_the_end_of_a_training(
    tool, options, tmp_path
):
    result = tool('train.py', CONFIG, '--work-dir', tmp_path, *options)
    assert result.returncode == 0, result.stderr
    model = build_model(Config.fromfile(CONFIG))
    checkpoint = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    model.load_state_dict(checkpoint['state_dict'])
    norms = [m for m in model.modules() if isinstance(m, SSN)]
    assert {float(norm.radius) for norm in norms} == {1.0}

    model, x = model.double().eval(), torch.randn(1, 3, 64, 64).double()
    deployed = copy.deepcopy(model)
    types = deploy_chosen(deployed)
    assert len(types) == len(norms)
    for expected, actual in zip(
        model.neck(model.backbone(x)),
        deployed.neck(deployed.backbone(x)),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected)
    # Only a mean and a variance of different sets keep a layer as it was.
    for name, kind in types.items():
        layer = model.get_submodule(name)
        means, variances = layer.mean_weight, layer.var_weight
        assert (kind == 'SSN') == bool(means.argmax() != variances.argmax())
