# Copyright (c) mmnorm contributors. All rights reserved.
"""A plan names the trainings of a study; each training is a cell."""

from itertools import product
from pathlib import Path
from typing import NamedTuple

import yaml
from mmengine.config import Config

from mmnorm.config.errors import ConfigError

ROOT = Path(__file__).parents[1]
PLANS = ROOT / 'studies/plans'
KEYS = {
    '': {'about', 'networks', 'norms', 'settings', 'cells'},
    'networks': {'data', 'config', 'images', 'metrics'},
    'norms': {'norm_cfg', 'conv_cfg'},
    'settings': {'norm_cfg', 'options'},
    'cells': {
        'networks',
        'norms',
        'settings',
        'images_per_step',
        'processes',
        'lr_factors',
        'seeds',
    },
}


class Cell(NamedTuple):
    """One training, by the columns that a results file has for it."""

    study: str
    network: str
    data: str
    norm: str
    setting: str
    images_per_step: int
    processes: int
    seed: int
    lr: str
    steps: int

    @property
    def name(self) -> str:
        """The name of the folder of the cell."""
        parts = (
            self.network,
            self.data,
            self.norm,
            self.setting,
            f'{self.processes}xb{self.images_per_step // self.processes}',
            f'lr-{self.lr}',
            f'seed-{self.seed}',
        )
        return '_'.join(part.replace(' ', '-') for part in parts)


class Plan(NamedTuple):
    """A study: its cells, and what their names stand for."""

    study: str
    networks: dict[str, dict]
    norms: dict[str, dict]
    settings: dict[str, dict]
    cells: list[Cell]


def read_plan(path: Path) -> Plan:
    """Read a study file, and list its cells, seed by seed.

    Args:
        path: A file in YAML, such as those in studies/plans. The key
            ``cells`` holds a list of grids.

    Raises:
        ConfigError: If the file has an unknown key or an unknown name.
    """
    try:
        plan = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f'{path} is no readable plan: {error}') from None
    if not isinstance(plan, dict) or not {'networks', 'cells'} <= plan.keys():
        raise ConfigError(
            f'{path} is no plan: give it the keys networks, norms and cells'
        )
    _check(path, '', plan)
    tables = {key: plan.get(key) or {} for key in ('networks', 'norms')}
    tables['settings'] = {'default': {}} | (plan.get('settings') or {})
    for key, table in tables.items():
        for entry in table.values():
            _check(path, key, entry)
    cells = []
    for grid in plan['cells']:
        _check(path, 'cells', grid)
        cells += _cells(path, grid, tables)
    # The first seed of all settings is there before the second of any.
    cells = sorted(dict.fromkeys(cells), key=lambda cell: cell.seed)
    return Plan(path.stem, *tables.values(), cells)


def _cells(path: Path, grid: dict, tables: dict[str, dict]) -> list[Cell]:
    names = {'settings': ['default']} | {
        key: list(table) for key, table in tables.items() if key != 'settings'
    }
    for key in names:
        names[key] = grid.get(key, names[key])
        for name in names[key]:
            if name not in tables[key]:
                raise ConfigError(
                    f'{path} has a cell with {name!r}, which is not one of '
                    f'its {key}: {", ".join(tables[key])}'
                )
    cells = []
    for seed, network, images, processes, norm, setting, factor in product(
        range(grid.get('seeds', 1)),
        names['networks'],
        grid.get('images_per_step', [1]),
        grid.get('processes', [1]),
        names['norms'],
        names['settings'],
        grid.get('lr_factors', [1]),
    ):
        if images % processes:
            raise ConfigError(
                f'{path} has a cell with {images} images per step on '
                f'{processes} processes: give a multiple of {processes}'
            )
        entry = tables['networks'][network]
        lr = learning_rate(entry['config'], images) * factor
        cells.append(
            Cell(
                path.stem,
                network,
                entry['data'],
                norm,
                setting,
                images,
                processes,
                seed,
                f'{lr:.6g}',
                entry['images'] // images,
            )
        )
    return cells


def learning_rate(config: str, images: int) -> float:
    """Return the learning rate for a number of images, by the linear rule."""
    cfg = Config.fromfile(ROOT / config)
    base = cfg.auto_scale_lr.base_batch_size
    return cfg.optim_wrapper.optimizer.lr * images / base


def _check(path: Path, key: str, entry: dict) -> None:
    for name in entry:
        if name not in KEYS[key]:
            raise ConfigError(
                f'{path} has the key {name!r} in {key or "the plan"}: use '
                f'one of {", ".join(sorted(KEYS[key]))}'
            )
