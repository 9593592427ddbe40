# Copyright (c) mmnorm contributors. All rights reserved.
"""The tests of the configs share the meaning of a name and build models.

Names are ``architecture_backbone[_neck]_norms_training_data``, and
``backbone_norms_training_data`` for a classifier.
"""

import copy
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch.nn import Module

from mmnorm import BCN

ROOT = Path(__file__).parents[2] / 'configs'
CLASSIFIERS = sorted(ROOT.glob('[!_]*/resnet*.py'))
# mmdet and mmseg have these learning rates per image.
RATES = {
    'coco': 0.02 / 16,
    'cityscapes': 0.01 / 8,
    'cityscapes-512x1024': 0.01 / 8,
    'cityscapes-769x769': 0.01 / 8,
    'coco-stuff164k-512x512': 0.01 / 16,
    'voc12aug-512x512': 0.01 / 16,
    'mini-coco': 1e-3,
    'mini-cityscapes': 1e-3,
}


class Name(NamedTuple):
    architecture: str
    depth: int
    norm: str
    options: tuple[str, ...]  # ws, nobn
    gpus: int
    per_gpu: int
    schedule: str
    data: str

    @classmethod
    def parse(cls, stem: str) -> 'Name':
        *network, norms, training, data = stem.split('_')
        architecture, backbone = (network * 2)[:2]
        norm, *options = norms.removesuffix('-all').split('-')
        if backbone.endswith('-ws'):
            options.append('ws')
        batch, _, schedule = training.partition('-')
        gpus, per_gpu = map(int, batch.split('xb'))
        depth = int(re.match(r'r(?:esnet)?(\d+)', backbone)[1])
        rest = gpus, per_gpu, schedule, data
        return cls(architecture, depth, norm, tuple(options), *rest)


def path_of(name: str) -> Path:
    """Return the config of a name."""
    (path,) = ROOT.glob(f'[!_]*/{name}.py')
    return path


@cache
def load(path: Path) -> Config:
    """Return a config, the same one to all tests, which only read it."""
    return Config.fromfile(path)


def build(cfg: Config) -> Module:
    """Build a model, if possible without memory or time for weights."""
    model = copy.deepcopy(cfg.model)  # detectors write into theirs
    scope = DefaultScope.overwrite_default_scope(cfg.default_scope)
    # The ResNet of mmpretrain reads numbers from a tensor.
    is_read = cfg.default_scope == 'mmpretrain'
    with scope, torch.device('cpu' if is_read else 'meta'):
        return MODELS.build(model)


def momenta(model: Module) -> set[tuple[float, int]]:
    """Return each momentum of the estimates, and the images it is for."""
    return {
        (module.bn.momentum, module.base_batch_size)
        for module in model.modules()
        if isinstance(module, BCN) and module.estimate
    }
