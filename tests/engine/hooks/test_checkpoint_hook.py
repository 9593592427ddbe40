# Copyright (c) mmnorm contributors. All rights reserved.
"""A full disk costs no checkpoint that is there already."""

import errno
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmnorm.engine.runner.atomic_runner import AtomicRunner, CheckpointError


class Network(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        loss = self.layer(torch.stack(inputs)).sum()
        return {'loss': loss} if mode == 'loss' else [loss]


class Growing(BaseMetric):
    """A metric that is better in each validation."""

    value = 0

    def process(self, data_batch: dict, data_samples: list) -> None:
        self.results.append(None)

    def compute_metrics(self, results: list) -> dict[str, int]:
        self.value += 1
        return {'score': self.value}


def train(folder: Path, **hook) -> None:
    loader = dict(
        dataset=[dict(inputs=torch.ones(2))],
        sampler=dict(type='DefaultSampler'),
        collate_fn=dict(type='pseudo_collate'),
        batch_size=1,
    )
    runner = AtomicRunner(
        Network(),
        str(folder),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=3),
        val_dataloader=loader,
        val_cfg=dict(),
        val_evaluator=Evaluator(Growing()),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(
            checkpoint=dict(type='mmnorm.CheckpointHook', **hook)
        ),
        cfg=Config(),
        experiment_name=folder.name,
    )
    runner.train()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob('*.pth*'))


BEST = dict(interval=-1, save_best='score', rule='greater', save_last=False)


@pytest.mark.parametrize(
    ('hook', 'first', 'last'),
    [
        (dict(interval=1, max_keep_ckpts=1), 'epoch_1.pth', 'epoch_3.pth'),
        (BEST, 'best_score_epoch_1.pth', 'best_score_epoch_3.pth'),
    ],
    ids=['newest', 'best'],
)
def test_full_disk(tmp_path, monkeypatch, hook, first, last):
    train(tmp_path / 'whole', **hook)
    assert names(tmp_path / 'whole') == [last]

    save = Runner.save_checkpoint

    def full(self, out_dir, filename, *args, **kwargs):
        if '2' in filename:
            raise OSError(errno.ENOSPC, 'No space left on device')
        save(self, out_dir, filename, *args, **kwargs)

    monkeypatch.setattr(Runner, 'save_checkpoint', full)
    with pytest.raises(CheckpointError, match='could not be written'):
        train(tmp_path / 'full', **hook)
    assert names(tmp_path / 'full') == [first]
