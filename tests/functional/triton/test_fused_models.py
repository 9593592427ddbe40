# Copyright (c) mmnorm contributors. All rights reserved.
"""A model whose norms compute the activations trains alike."""

import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from mmnorm import fuse_norm_act
from tests.models import SIZE, deeplab, mask_rcnn
from tests.paths import ROOT

from .devices import DEVICE, needs_kernels

MINI = ROOT / 'configs/mini'
CONFIGS = {
    'mask-rcnn_r18_fpn_bcn-all_1xb1-3e_mini-coco.py': mask_rcnn,
    'deeplabv3_r18-d8_bcn-all_1xb1-2k_mini-cityscapes.py': deeplab,
}


def make_model(name: str) -> nn.Module:
    """Build a model that is small enough for the interpreter."""
    cfg = Config.fromfile(MINI / name)
    model = cfg.model
    model.backbone.base_channels = 16
    model.backbone.norm_cfg.num_groups = 8
    if 'neck' in model:
        model.neck.in_channels = [16, 32, 64, 128]
        model.train_cfg.rcnn.sampler.num = 4
        model.train_cfg.rpn_proposal.max_per_img = 4
    else:
        model.decode_head.in_channels = 128
        model.auxiliary_head.in_channels = 64
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        built = MODELS.build(model)
    built.init_weights()
    return built.to(DEVICE)


def train(model: nn.Module, samples: list) -> tuple[dict, int]:
    """Return the losses and gradients, and the bytes kept for the backward."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    x = torch.randn(2, 3, *SIZE, device=DEVICE)
    samples = [sample.to(DEVICE) for sample in copy.deepcopy(samples)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        losses = model(x, samples, mode='loss')
        loss, log = model.parse_losses(losses)
    loss.backward()
    gradients = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return {**log, **gradients}, sum(kept.values())


@needs_kernels
@pytest.mark.parametrize('name', CONFIGS)
def test_same_losses_and_no_more_bytes(name):
    torch.manual_seed(0)
    _, samples = CONFIGS[name]()
    model = make_model(name)
    fused = copy.deepcopy(model)
    assert fuse_norm_act(fused) > 10
    expected, bytes_before = train(model, samples)
    actual, bytes_after = train(fused, samples)
    torch.testing.assert_close(actual, expected, rtol=2e-3, atol=2e-4)
    # The activations of mmdet and mmseg work in place, and kept little.
    assert bytes_after <= bytes_before
