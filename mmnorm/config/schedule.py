# Copyright (c) mmnorm contributors. All rights reserved.
"""Fit a schedule to another number of images per step."""

import re
from fractions import Fraction
from typing import NamedTuple

from mmengine.config import Config

from .write_config import Source, Statement

# Keys of a loop, a hook or a scheduler that count steps.
STEPS = (
    'max_iters',
    'val_interval',
    'dynamic_intervals',
    'interval',
    'begin',
    'end',
    'milestones',
    'step_size',
    'T_max',
    'total_steps',
)


class Batch(NamedTuple):
    """The number of images per training step; None is unknown.

    Attributes:
        base: Images per step that the schedule of the base is made for.
        gpus: Number of GPUs.
        size: Images per GPU.
        doubt: Another number that the name of the config says, if any.
    """

    base: int | None
    gpus: int | None
    size: int | None
    doubt: int | None = None

    @property
    def images(self) -> int | None:
        """Images per step on all GPUs."""
        if self.gpus is None or self.size is None:
            return None
        return self.gpus * self.size


def read_batch(
    cfg: Config, name: str, batch_size: int | None, gpus: int | None
) -> Batch:
    """Return how many images per step a config has.

    In a config of a package, such as ``mmdet::rtmdet/...``, the number in the
    name counts more than ``auto_scale_lr.base_batch_size``. RTMDet trains
    with 256 images per step, and it inherits a base of 16.

    Args:
        cfg: The config.
        name: The name of the config, which may hold both numbers, as in
            ``4xb2``.
        batch_size: Images per GPU, or None for those of the config.
        gpus: Number of GPUs, or None for those of the config.
    """
    images = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    doubt = None
    if found := re.search(r'(\d+)xb(\d+)[^/]*$', name):
        named = int(found[1]) * int(found[2])
        if images is None or '::' in name:
            images = named
        elif named != images:
            doubt = named
    base_size = (cfg.get('train_dataloader') or {}).get('batch_size')
    if gpus is None and images is not None and base_size is not None:
        gpus = max(images // base_size, 1)
    return Batch(images, gpus, batch_size or base_size, doubt)


class Schedule(NamedTuple):
    """The changes that another number of images per step asks for.

    Attributes:
        statements: Statements of the new config, but for the optimizer.
        lr: The new learning rate, or None for that of the base.
        note: A line for the user.
    """

    statements: list[Statement]
    lr: str | None
    note: str


def scale_schedule(cfg: Config, batch: Batch) -> Schedule:
    """Scale the learning rate, and train on as many images as before.

    Args:
        cfg: The config with the old schedule.
        batch: The old and the new number of images per step.
    """
    loader = ('train_dataloader', {'batch_size': str(batch.size)})
    lr = (cfg.get('optim_wrapper') or {}).get('optimizer', {}).get('lr')
    if None in (batch.base, batch.images, lr):
        size = (cfg.get('train_dataloader') or {}).get('batch_size')
        statements = [('', *loader)] if batch.size != size else []
        note = 'the base has no batch size to scale lr from'
        return Schedule(statements, None, note)
    old, new = batch.base, batch.images
    scaled = f'{lr * new / old:.6g}'
    note = (
        f'{count(batch.gpus, "GPU")} x {count(batch.size, "image")} = {new}; '
        f'lr {lr:.6g} * {new} / {old} = {scaled}'
    )
    if batch.doubt:
        note += f' (or is {lr:.6g} meant for {batch.doubt} images per step?)'
    statements = [(f'{note}.', *loader)]
    if 'auto_scale_lr' in cfg:
        statements.append(('', 'auto_scale_lr', {'base_batch_size': str(new)}))
    steps = (cfg.get('train_cfg') or {}).get('max_iters')
    if new == old:
        return Schedule(statements, scaled, note)
    if steps is not None:
        equation = f'{steps} * {old} / {new} = {round(steps * old / new)}'
        note += f'; {equation} steps'
        statements += _stretch(cfg, Fraction(old, new), f'Steps: {equation}.')
    elif any('eta_min' in scheduler for scheduler in _param_scheduler(cfg)):
        # Epochs have as many images as before; only the rates change.
        rates = _scaled_schedulers(cfg, Fraction(1), Fraction(new, old))
        statements.append(('', 'param_scheduler', rates))
    return Schedule(statements, scaled, note)


def count(number: int, noun: str) -> str:
    """Return a number of things, such as '1 GPU' or '2 GPUs'."""
    return f'{number} {noun}{"s" if number > 1 else ""}'


def _param_scheduler(cfg: Config) -> list[dict]:
    schedulers = cfg.get('param_scheduler') or []
    return [schedulers] if isinstance(schedulers, dict) else schedulers


def _scaled(
    key: str, value: object, steps: Fraction, rate: Fraction
) -> object:
    if isinstance(value, (list, tuple)):
        return [_scaled(key, member, steps, rate) for member in value]
    if key == 'eta_min':
        return float(f'{value * float(rate):.6g}')
    return round(value * steps) if key in STEPS else value


def _scaled_schedulers(
    cfg: Config, steps: Fraction, rate: Fraction
) -> list[dict[str, Source]]:
    return [
        {k: repr(_scaled(k, v, steps, rate)) for k, v in scheduler.items()}
        for scheduler in _param_scheduler(cfg)
    ]


def _stretch(cfg: Config, factor: Fraction, comment: str) -> list[Statement]:
    # The schedule in ``factor`` times as many steps.
    def steps(node: dict, *keys: str) -> dict[str, Source]:
        return {
            k: repr(_scaled(k, node[k], factor, 1 / factor))
            for k in keys
            if k in node
        }

    keys = 'max_iters', 'val_interval', 'dynamic_intervals'
    schedulers = _scaled_schedulers(cfg, factor, 1 / factor)
    statements = [
        (comment, 'train_cfg', steps(cfg.train_cfg, *keys)),
        ('', 'param_scheduler', schedulers),
    ]
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if not hook.get('by_epoch', True):
        hooks = {'checkpoint': steps(hook, 'interval')}
        statements.append(('', 'default_hooks', hooks))
    return statements
