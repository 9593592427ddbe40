# Copyright (c) mmnorm contributors. All rights reserved.
"""Exact running statistics over the training batches of a config."""

import copy
from itertools import islice

from mmengine.dist import get_rank
from mmengine.registry import DATASETS
from mmengine.runner import Runner, set_random_seed
from torch import nn
from torch.utils.data import Dataset

from .exact_statistics import StatisticsChange, keep_random_state, recalibrate


def training_data(runner: Runner) -> Dataset:
    """Build the data set that a config trains on."""
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
) -> dict[str, StatisticsChange]:
    """Recalibrate a model on training batches of a config.

    The batches come from a new data loader with the settings of
    ``train_dataloader``, augmentations included. The seed of the config and
    the step determine the images and all random numbers.

    Args:
        dataset: The data set of the config.
        runner: A runner with the config.
        model: The model.
        num_batches: Batches per process; fewer if the data ends before.
        step: Number of training steps that are done.
    """
    cfg = copy.deepcopy(runner._train_dataloader)
    # mmengine copies the data set, so that of the training stays as it is.
    cfg['dataset'] = dataset
    cfg['persistent_workers'] = False
    seed = (runner.seed + step) % 2**31
    with keep_random_state():
        set_random_seed(seed + get_rank())
        loader = runner.build_dataloader(
            cfg, seed, runner._randomness_cfg.get('diff_rank_seed', False)
        )
        if runner.message_hub.get_info('iter') is None:
            # The random sizes of YOLOX read the step.
            runner.message_hub.update_info('iter', step)
        return recalibrate(model, islice(loader, num_batches))
