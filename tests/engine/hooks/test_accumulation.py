# Copyright (c) mmnorm contributors. All rights reserved.
"""A run of mmengine with accumulation equals a run of larger batches."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import get_world_size
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.runner import Runner
from torch import Tensor, nn

from mmnorm import BCN
from tests.layers.cases import assert_same, make_input, uneven_loss

# With four images per update, there are five updates and a sixth of two.
NUM_IMAGES = 22
EQUAL = [(7, 6)]
RAGGED = [(7, 6), (9, 4), (3, 5)]
# The batch of a step is another one with accumulation than without.
BY_IMAGE = {'estimate_grad': 'image'}


class Net(BaseModel):
    """A network whose loss is the mean over images, of any size."""

    def __init__(self, options: dict) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            BCN(8, 4, sync='step', **options),
            nn.ReLU(),
            nn.Conv2d(8, 16, 1),
            BCN(16, 4, sync='step', **options),
        ).double()

    def forward(self, inputs: list[Tensor], mode: str) -> dict[str, Tensor]:
        sizes = {x.shape for x in inputs}
        if len(sizes) == 1:
            ys = self.layers(torch.stack(inputs))
        else:
            ys = [self.layers(x[None]) for x in inputs]
        losses = [uneven_loss(y) / y.numel() for y in ys]
        return {'loss': sum(losses) / len(losses)}


def make_images(sizes: list[tuple[int, int]]) -> list[Tensor]:
    return [
        make_input((3, *sizes[i % len(sizes)]), i).detach() * (1 + i % 3)
        for i in range(NUM_IMAGES)
    ]


def collate(images: list[Tensor]) -> dict[str, list[Tensor]]:
    return {'inputs': pseudo_collate(images)}


def make_runner(
    folder: Path,
    sizes: list[tuple[int, int]],
    options: dict,
    batch_size: int,
    window: int,
    interval: int = -1,
    **settings,
) -> Runner:
    net, per_step = Net(options), batch_size * get_world_size()
    if get_world_size() > 1:
        net = MMDistributedDataParallel(net)
    return Runner(
        net,
        str(folder),
        train_dataloader=dict(
            dataset=make_images(sizes),
            batch_size=batch_size,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=collate,
        ),
        train_cfg=dict(
            by_epoch=False, max_iters=math.ceil(NUM_IMAGES / per_step)
        ),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
            accumulative_counts=window,
        ),
        custom_hooks=[dict(type='mmnorm.StepSyncHook')],
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook', by_epoch=False, interval=interval
            )
        ),
        log_level='ERROR',
        **settings,
    )


def train(*arguments, **settings) -> dict[str, Tensor]:
    model = make_runner(*arguments, **settings).train()
    return getattr(model, 'module', model).state_dict()


@pytest.mark.parametrize('sizes', [EQUAL, RAGGED], ids=['equal', 'ragged'])
@pytest.mark.parametrize(
    'options', [BY_IMAGE, {'estimate_grad': None}], ids=str
)
def test_equals_larger_batches(tmp_path, sizes, options):
    expected = train(tmp_path, sizes, options, 4, 1)
    actual = train(tmp_path, sizes, options, 1, 4)
    assert expected['layers.1.bn.num_batches_tracked'] == 6
    assert_same(actual, expected, 1e-12)


def train_in_parallel(rank: int, folder: Path) -> dict[str, Tensor]:
    return train(folder, RAGGED, BY_IMAGE, 1, 2, launcher='pytorch')


def test_equals_larger_batches_on_two_processes(ranks, tmp_path):
    expected = train(tmp_path, RAGGED, BY_IMAGE, 4, 1)
    for state in ranks(2).run(train_in_parallel, tmp_path):
        assert_same(state, expected, 1e-12)


def test_resume_between_updates(tmp_path):
    expected = train(tmp_path, RAGGED, BY_IMAGE, 1, 4, interval=8)
    checkpoint = str(tmp_path / 'iter_8.pth')
    actual = train(
        tmp_path, RAGGED, BY_IMAGE, 1, 4, resume=True, load_from=checkpoint
    )
    assert_same(actual, expected, 0)
