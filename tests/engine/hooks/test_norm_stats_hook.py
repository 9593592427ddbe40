# Copyright (c) mmnorm contributors. All rights reserved.
"""A training records what its norms do, and names where it breaks."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from mmnorm import NormStatsHook, SyncBN
from tests.paths import CONFIG

ARGUMENTS = [
    ({'interval': 0}, 'set interval to 1 or more'),
    ({'num_batches': 0}, 'a number from 1 to interval, which is 100'),
    ({'interval': 2, 'num_batches': 3}, 'from 1 to interval, which is 2'),
]


@pytest.fixture
def runner(mini_coco, tmp_path) -> Runner:
    cfg = Config.fromfile(CONFIG)
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.data_root = f'{mini_coco}/'
    cfg.train_cfg.val_interval = 9
    cfg.train_cfg.max_epochs = 1
    cfg.custom_hooks = [
        dict(type='mmnorm.NormStatsHook', interval=4, num_batches=2)
    ]
    cfg.default_hooks.checkpoint = None
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.work_dir = str(tmp_path)
    # mmengine keeps one visualizer per name in a process, and mmdet's
    # configs give one name to all: the first work_dir would get the records.
    cfg.visualizer.name = str(tmp_path)
    return Runner.from_cfg(cfg)


def test_records_of_a_training(runner, tmp_path):
    model = runner.train()
    (file,) = tmp_path.glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in file.read_text().splitlines()]
    records = [r for r in records if 'norm/backbone.bn1/dead' in r]
    # The batches of steps 1 and 2, and those of steps 5 and 6.
    assert [record['step'] for record in records] == [2, 6]
    layers = {key.split('/')[1] for key in records[0] if '/' in key}
    assert len(layers) == 36
    assert records[0]['norm/backbone.bn1/gap_mean'] >= 0
    assert not any(m._forward_hooks for m in model.modules())
    assert 'update_params' not in vars(runner.optim_wrapper)


def test_a_loss_that_is_not_finite(runner, tmp_path):
    runner.model.init_weights()  # once is enough for mmengine
    conv = runner.model.roi_head.mask_head.convs[1].conv
    torch.nn.init.constant_(conv.weight, 1e38)
    before = runner.model.backbone.conv1.weight.clone()
    with pytest.raises(FloatingPointError) as info:
        runner.train()
    sentence = str(info.value)
    assert "the output of 'roi_head.mask_head.convs.1.conv'" in sentence
    assert sentence.startswith('step 1: ')
    (path,) = tmp_path.glob('*/not_finite_0.pth')
    assert repr(str(path)) in sentence
    # The optimizer has not stepped on it.
    assert torch.equal(runner.model.backbone.conv1.weight, before)


@pytest.mark.parametrize(('arguments', 'why'), ARGUMENTS)
def test_arguments(arguments, why):
    with pytest.raises(ValueError, match=why):
        NormStatsHook(**arguments)


class TwoNorms(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 1), SyncBN(4), nn.Conv2d(4, 4, 1), SyncBN(4)
        )

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return {'loss': self.layers(inputs).square().sum()}


def end_of_a_training(rank: int, log_dir: str) -> str:
    """Return how a training ends whose loss is NaN on rank 1."""
    model = TwoNorms()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
    runner = SimpleNamespace(
        model=model, optim_wrapper=wrapper, iter=7, log_dir=log_dir
    )
    hook = NormStatsHook()
    hook.before_train(runner)
    batch = {'inputs': torch.ones(1, 3, 2, 2)}
    hook.before_train_iter(runner, 1, batch)
    loss = model(**batch, mode='loss')['loss']
    if rank == 1:
        batch['inputs'][0, 0, 0, 0] = float('nan')
        loss = loss * float('nan')
    with pytest.raises(FloatingPointError) as info:
        wrapper.update_params(loss)
    return str(info.value)


def test_a_loss_that_is_not_finite_in_one_process(ranks, tmp_path):
    other, own = ranks(2).run(end_of_a_training, str(tmp_path))
    assert other == 'step 8: the loss of another process is not finite'
    assert "step 8: the input of 'data_preprocessor' is the first" in own
    assert [p.name for p in tmp_path.iterdir()] == ['not_finite_7_rank_1.pth']
