# Copyright (c) mmnorm contributors. All rights reserved.
"""From a cell to the config of its training, and from its log to rows."""

import copy
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmnorm.config.schedule import STEPS

from .plan import ROOT, Cell, Plan
from .records import scalars

# A training that is killed loses an eighth of its steps at most.
CHECKPOINTS = 8


def config_of(cell: Cell, plan: Plan) -> Config:
    """Return the config of a cell: that of its task, with its norm.

    The norm replaces each ``norm_cfg`` of the model. The training sees as
    many images as the plan says, whatever the number per step.
    """
    task = plan.tasks[cell.network, cell.data]
    norm, setting = plan.norms[cell.norm], plan.settings[cell.setting]
    cfg = Config.fromfile(ROOT / task['config'])
    norm_cfg = norm['norm_cfg'] | setting.get('norm_cfg', {})
    images = cell.images_per_step
    words = {
        'num_groups': task['num_groups'],
        'grad_share': images / (images + 1),
    }
    for key, value in words.items():
        if isinstance(norm_cfg.get(key), str):
            norm_cfg[key] = value
    _replace_norm(cfg.model, norm_cfg, norm.get('conv_cfg'))

    loader = cfg.train_dataloader
    loader.batch_size = cell.images_per_step // cell.processes
    loader.sampler = dict(type='InfiniteSampler', shuffle=True)
    # An incomplete last batch would be of another size.
    loader.drop_last = True
    cfg.optim_wrapper.optimizer.lr = float(cell.lr)
    _stretch(cfg, cell.steps)
    cfg.default_hooks.checkpoint.update(
        by_epoch=False,
        interval=max(cell.steps // CHECKPOINTS, 1),
        max_keep_ckpts=2,
        save_best=None,
    )
    cfg.log_processor.by_epoch = False
    cfg.default_hooks.logger.update(
        interval=min(50, cell.steps), log_metric_by_epoch=False
    )
    cfg.randomness = dict(seed=cell.seed)
    for options in (norm.get('options', {}), setting.get('options', {})):
        # mmengine takes _delete_ out of what it merges.
        cfg.merge_from_dict(copy.deepcopy(options))
    return cfg


def _replace_norm(node: Any, norm_cfg: dict, conv_cfg: dict | None) -> None:
    if isinstance(node, dict):
        if node.get('norm_cfg') is not None:
            node['norm_cfg'] = ConfigDict(norm_cfg)
            if conv_cfg is not None:
                node['conv_cfg'] = ConfigDict(conv_cfg)
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for member in node:
            _replace_norm(member, norm_cfg, conv_cfg)


def _stretch(cfg: Config, steps: int) -> None:
    # The same schedule in another number of steps, with one evaluation. No
    # part of the schedule is shorter than a step.
    old = max(scheduler.get('end', 0) for scheduler in cfg.param_scheduler)
    for scheduler in cfg.param_scheduler:
        for key in STEPS:
            if scheduler.get(key):
                scaled = round(scheduler[key] * steps / old)
                scheduler[key] = max(scaled, 1)
    cfg.train_cfg = dict(
        type='IterBasedTrainLoop', max_iters=steps, val_interval=steps
    )


def results_of(
    cell: Cell, plan: Plan, work_dir: Path
) -> dict[str, float] | None:
    """Return the metrics and the seconds of a cell, if it is complete.

    A detector that finds nothing has no average precision in its log; then
    the result is 0.
    """
    records = scalars(work_dir)
    if (
        not records
        or 'loss' in records[-1]
        or records[-1]['step'] < cell.steps
    ):
        return None
    metrics = plan.tasks[cell.network, cell.data]['metrics']
    values = {name: records[-1].get(key, 0) for name, key in metrics.items()}
    steps = [record for record in records if 'loss' in record]
    times = [record['time'] for record in steps]
    return values | {
        'loss': steps[-1]['loss'],
        'seconds': cell.steps * sum(times) / len(times),
        'memory_mb': max(record.get('memory', 0) for record in steps),
    }
