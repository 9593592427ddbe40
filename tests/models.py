# Copyright (c) mmnorm contributors. All rights reserved.
"""Whole models of this repository's configs, with numbers as of training."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

import mmnorm  # noqa: F401  registers the layers

ROOT = Path(__file__).parents[1]


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every norm gains, offsets and statistics of its own, near 1, 0."""
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor: Tensor, scale: float) -> Tensor:
        return scale * torch.randn(tensor.shape, generator=generator)

    with torch.no_grad():
        for module in model.modules():
            if not isinstance(module, (_NormBase, nn.GroupNorm)):
                continue
            for parameter in module.parameters(recurse=False):
                parameter += noise(parameter, 0.1)
            if getattr(module, 'running_mean', None) is not None:
                var = module.running_var
                module.running_mean += noise(var, 0.1) * var.sqrt()
                var *= 1 + noise(var, 0.1)
    return model


def make_model(name: str, **norm_cfg) -> nn.Module:
    """The model of a config in evaluation, without weights of others.

    Its running statistics are those of a batch, shaken a little: with the
    initial ones, what comes out of standardized weights would overflow.
    """
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    backbone = cfg.model.backbone
    backbone.update(norm_eval=False, init_cfg=None)
    if cfg.default_scope == 'mmdet':
        backbone.frozen_stages = -1
    if norm_cfg:
        _merge(cfg.model, norm_cfg)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model).double().train()
    norms = [m for m in model.modules() if isinstance(m, _NormBase)]
    for norm in norms:
        norm.momentum = None  # the mean of all batches, of which this is one
    with torch.no_grad():
        logits(model, torch.randn(2, 3, 64, 64, dtype=torch.float64))
    return randomize(model).eval()


def logits(model: nn.Module, x: Tensor) -> list[Tensor]:
    """What the heads say of images, and of two given boxes in a detector."""
    features = model.extract_feat(x)
    if hasattr(model, 'decode_head'):
        said = [model.decode_head(features)]
        if model.training:
            said.append(model.auxiliary_head(features))
        return said
    rois = x.new_tensor([[0, 0, 0, 40, 40], [0, 10, 5, 60, 50]])
    boxes = model.roi_head._bbox_forward(features, rois)
    masks = model.roi_head._mask_forward(features, rois)
    maps = model.rpn_head(features)
    return [
        *maps[0],
        *maps[1],
        boxes['cls_score'],
        boxes['bbox_pred'],
        masks['mask_preds'],
    ]


class Heads(nn.Module):
    """A model whose call gives its logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        return logits(self.model, x)


def _merge(node: dict, norm_cfg: dict) -> None:
    for key, value in node.items():
        if key == 'norm_cfg' and value is not None:
            value.update(norm_cfg)
        elif isinstance(value, dict):
            _merge(value, norm_cfg)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    _merge(item, norm_cfg)
