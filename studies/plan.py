# Copyright (c) mmnorm contributors. All rights reserved.
"""A plan lists the trainings of a study; each training is a cell."""

from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import yaml
from mmengine.config import Config

from mmnorm.config.errors import ConfigError

ROOT = Path(__file__).parents[1]
PLANS = ROOT / 'studies/plans'
# A name means the same in all studies, so that they share their trainings.
DEFINITIONS = ROOT / 'studies/definitions.yml'
TABLES = ('tasks', 'norms', 'settings')
KEYS = {
    '': {'about', 'cells', *TABLES},
    'tasks': {
        'network',
        'data',
        'config',
        'images',
        'num_groups',
        'metrics',
    },
    'norms': {'norm_cfg', 'conv_cfg', 'options'},
    'settings': {'norm_cfg', 'options'},
    'cells': {
        *TABLES,
        'images_per_step',
        'images_factor',
        'processes',
        'lr_factors',
        'seeds',
    },
}


class Cell(NamedTuple):
    """One training, by the columns that a results file has for it."""

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
            f'{self.steps}-steps',
            f'seed-{self.seed}',
        )
        return '_'.join(part.replace(' ', '-') for part in parts)


class Plan(NamedTuple):
    """A study: its cells, and what their names stand for.

    Attributes:
        study: The name of the study.
        about: Its question.
        tasks: Networks and their data, by the names of both.
        norms: The ``norm_cfg`` and the ``conv_cfg`` of each norm, and what
            else the norm needs in a config.
        settings: What changes a norm or its training.
        cells: The trainings, all of the first seed first.
    """

    study: str
    about: str
    tasks: dict[tuple[str, str], dict]
    norms: dict[str, dict]
    settings: dict[str, dict]
    cells: list[Cell]


def read_plan(path: Path) -> Plan:
    """Read a study file, and list its cells, seed by seed.

    Args:
        path: A file in YAML, such as those in studies/plans. The key
            ``cells`` holds a list of grids. Names are those of
            studies/definitions.yml, or of the file itself.

    Raises:
        ConfigError: If the file has an unknown key or an unknown name.
    """
    plan, definitions = _read(path), _read(DEFINITIONS)
    if not isinstance(plan, dict) or not plan.get('cells'):
        raise ConfigError(
            f'{path} is no plan: give it the key cells, with a list of grids'
        )
    _check(path, '', plan)
    tables = {key: definitions[key] | (plan.get(key) or {}) for key in TABLES}
    for key, table in tables.items():
        for entry in table.values():
            _check(path, key, entry)
    cells = []
    for grid in plan['cells']:
        _check(path, 'cells', grid)
        cells += _cells(path, grid, tables)
    cells = sorted(dict.fromkeys(cells), key=lambda cell: cell.seed)
    tasks = {(t['network'], t['data']): t for t in tables['tasks'].values()}
    about = ' '.join(plan.get('about', '').split())
    return Plan(
        path.stem, about, tasks, tables['norms'], tables['settings'], cells
    )


@cache
def learning_rate(config: str, images: int) -> float:
    """Return the learning rate for a number of images, by the linear rule."""
    cfg = Config.fromfile(ROOT / config)
    base = cfg.auto_scale_lr.base_batch_size
    return cfg.optim_wrapper.optimizer.lr * images / base


def _read(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f'{path} is no readable plan: {error}') from None


def _cells(path: Path, grid: dict, tables: dict[str, dict]) -> list[Cell]:
    names = {key: grid.get(key, ['default']) for key in TABLES}
    for key, chosen in names.items():
        for name in chosen:
            if name not in tables[key]:
                raise ConfigError(
                    f'{path} has a cell with {name!r}, which is not one of '
                    f'the {key}: {", ".join(tables[key])}'
                )
    cells = []
    for seed, images, processes, task, norm, setting, factor in product(
        range(grid.get('seeds', 1)),
        grid.get('images_per_step', [1]),
        grid.get('processes', [1]),
        *names.values(),
        grid.get('lr_factors', [1]),
    ):
        if images % processes:
            raise ConfigError(
                f'{path} has a cell with {images} images per step on '
                f'{processes} processes: give a multiple of {processes}'
            )
        entry = tables['tasks'][task]
        seen = entry['images'] * grid.get('images_factor', 1)
        lr = learning_rate(entry['config'], images) * factor
        cells.append(
            Cell(
                entry['network'],
                entry['data'],
                norm,
                setting,
                images,
                processes,
                seed,
                f'{lr:.6g}',
                seen // images,
            )
        )
    return cells


def _check(path: Path, key: str, entry: dict) -> None:
    for name in entry:
        if name not in KEYS[key]:
            raise ConfigError(
                f'{path} has the key {name!r} in {key or "the plan"}: use '
                f'one of {", ".join(sorted(KEYS[key]))}'
            )
