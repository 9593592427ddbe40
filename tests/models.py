# Copyright (c) mmnorm contributors. All rights reserved.
"""Whole models: of this repository's configs, and of mmdet and mmseg."""

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_flatten

import mmnorm  # noqa: F401  registers the layers
from mmnorm.config.files import find_config

from .paths import CONFIG, ROOT

DEEPLAB = 'mmseg::deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py'
SIZE = (64, 96)
SHAPES = dict(img_shape=SIZE, pad_shape=SIZE, batch_input_shape=SIZE)


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Add noise to the weight, bias and statistics of every norm."""
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
    """Build the model of a config in evaluation mode, without downloads.

    The running statistics are those of a batch with some noise. With the
    initial statistics, the outputs of standardized weights would overflow.
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
        norm.momentum = None  # the mean of all batches, here of one batch
    with torch.no_grad():
        logits(model, torch.randn(2, 3, 64, 64, dtype=torch.float64))
    return randomize(model).eval()


def logits(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the outputs of all heads; a detector gets two fixed boxes."""
    features = model.extract_feat(x)
    if hasattr(model, 'decode_head'):
        outputs = [model.decode_head(features)]
        if model.training:
            outputs.append(model.auxiliary_head(features))
        return outputs
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
    """A model that returns its logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        return logits(self.model, x)


def mask_rcnn() -> tuple[Config, list]:
    """Return a config of Mask R-CNN, and labels of two images."""
    packed = demo_mm_inputs(2, (3, *SIZE), [3, 2], with_mask=True)
    samples = packed['data_samples']
    for sample in samples:
        sample.set_metainfo(SHAPES)
        boxes = sample.gt_instances.bboxes
        sample.gt_instances.bboxes = boxes.to(torch.get_default_dtype())
    return Config.fromfile(CONFIG), samples


def deeplab() -> tuple[Config, list]:
    """Return a config of DeepLabV3, and labels of two images."""
    cfg = Config.fromfile(find_config(DEEPLAB))
    cfg.model.pretrained = None
    for part in ('backbone', 'decode_head', 'auxiliary_head'):
        cfg.model[part].norm_cfg = dict(type='mmnorm.BCN', num_groups=8)
    labels = torch.randint(0, 19, (2, 1, *SIZE))
    return cfg, [
        SegDataSample(metainfo=SHAPES, gt_sem_seg=PixelData(data=label))
        for label in labels
    ]


def train_and_predict(
    model: BaseModel, x: Tensor, samples: list
) -> dict[str, Tensor]:
    """Return losses, gradients, buffers and predictions, by their names."""
    torch.manual_seed(0)
    # mmdet draws from the global generator.
    np.random.seed(0)  # noqa: NPY002
    losses = model(x, copy.deepcopy(samples), mode='loss')
    loss, log = model.parse_losses(losses)
    loss.backward()
    gradients = {
        f'{k} gradient': p.grad
        for k, p in model.named_parameters()
        if p.grad is not None
    }
    model.eval()
    with torch.no_grad():
        predicted = tree_flatten(model(x, samples, mode='tensor'))[0]
    outputs = {str(i): y for i, y in enumerate(predicted)}
    return log | gradients | dict(model.named_buffers()) | outputs


@contextmanager
def float64() -> Iterator[None]:
    """Compute everything in float64 but NMS, which knows only float32."""
    extension = sys.modules['mmcv.ops.nms'].ext_module
    nms = extension.nms

    def nms_in_float32(boxes: Tensor, scores: Tensor, **kwargs) -> Tensor:
        return nms(boxes.float(), scores.float(), **kwargs)

    extension.nms = nms_in_float32
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        extension.nms = nms
        torch.set_default_dtype(torch.float32)


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
