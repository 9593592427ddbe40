# Copyright (c) mmnorm contributors. All rights reserved.
"""The README's config runs, and its links lead somewhere."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmnorm import BCN

from .paths import ROOT

README = (ROOT / 'README.md').read_text()
PAGES = [
    ROOT / 'README.md',
    *ROOT.glob('docs/*.md'),
    *ROOT.glob('*/README.md'),
]


@pytest.fixture(scope='module')
def cfg(tmp_path_factory) -> Config:
    (text,) = re.findall(r'```python\n(_base_ = .*?)```', README, re.DOTALL)
    path = tmp_path_factory.mktemp('user') / 'my_mask_rcnn.py'
    path.write_text(text)
    return Config.fromfile(path)


def test_config_builds_with_bcn_everywhere(cfg):
    cfg.model.backbone.init_cfg = None
    with (
        DefaultScope.overwrite_default_scope('mmdet'),
        torch.device('meta'),
    ):
        model = MODELS.build(cfg.model)
    norms = [m for m in model.modules() if isinstance(m, BCN)]
    assert len(norms) == 69
    inner = {norm.bn for norm in norms}
    others = [m for m in model.modules() if 'BatchNorm' in type(m).__name__]
    assert set(others) == inner


def test_config_fits_its_batch_size(cfg):
    images = cfg.train_dataloader.batch_size  # on one GPU
    assert images == 2
    # The base has 0.02 for 16 images.
    assert cfg.optim_wrapper.optimizer.lr == 0.02 * images / 16
    assert cfg.auto_scale_lr.base_batch_size == images


@pytest.mark.parametrize('page', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
    links = re.findall(r'\]\(([^)\s#]+)[^)]*\)', text)
    for link in links:
        if '://' not in link:
            assert (page.parent / link).exists(), link


def test_number_of_configs():
    configs = set(ROOT.glob('configs/[!_]*/*.py')) - set(
        ROOT.glob('configs/mini/*.py')
    )
    assert f'there are\n{len(configs)} [configs](configs)' in README
