# Copyright (c) mmnorm contributors. All rights reserved.
"""Exact running statistics over batches as a config trains on them."""

import copy
from itertools import islice

from mmengine.dist import get_rank
from mmengine.registry import DATASETS
from mmengine.runner import Runner, set_random_seed
from torch import nn
from torch.utils.data import Dataset

from .exact_statistics import Shift, keep_random_state, recalibrate


def training_data(runner: Runner) -> Dataset:
    """The data set that a config trains on."""
    dataset = DATASETS.build(runner._train_dataloader['dataset'])
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    return dataset


def recalibrate_on(
    dataset: Dataset,
    runner: Runner,
    model: nn.Module,
    num_batches: int,
    step: int = 0,
) -> dict[str, Shift]:
    """Recalibrate a model on batches as a config trains on them.

    They come from a data loader of its own, which is as
    ``train_dataloader`` says, augmentations included. Which they are, and
    all chance, follow from the seed of the config and the step.

    Args:
        dataset: That of the config.
        runner: What has the config.
        model: What holds the layers.
        num_batches: Batches of each process; fewer if there are no more.
        step: Training steps done.
    """
    cfg = copy.deepcopy(runner._train_dataloader)
    # mmengine copies it, so the pipeline of the training keeps its state.
    cfg['dataset'] = dataset
    cfg['persistent_workers'] = False
    seed = (runner.seed + step) % 2**31
    with keep_random_state():
        set_random_seed(seed + get_rank())
        loader = runner.build_dataloader(
            cfg, seed, runner._randomness_cfg.get('diff_rank_seed', False)
        )
        return recalibrate(model, islice(loader, num_batches))
