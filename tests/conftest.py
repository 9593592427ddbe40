# Copyright (c) mmnorm contributors. All rights reserved.
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.registry import DefaultScope

from .paths import ROOT
from .ranks import Ranks

Main = Callable[..., None]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_default_scope() -> Iterator[None]:
    """Forget the scope that a runner of the test has made the default."""
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='session')
def ranks() -> Iterator[Callable[[int], Ranks]]:
    """Groups of processes by their number; started once, and after a fall."""
    groups: dict[int, Ranks] = {}

    def get(world_size: int) -> Ranks:
        if world_size not in groups or not groups[world_size].alive:
            groups[world_size] = Ranks(world_size)
        return groups[world_size]

    yield get
    for group in groups.values():
        group.stop()


@pytest.fixture(scope='session')
def tool() -> Callable[..., subprocess.CompletedProcess]:
    """Run a command of tools/ as a user does."""

    def run(name: str, *args: object) -> subprocess.CompletedProcess:
        path = ROOT / 'tools' / name
        command = [path] if path.suffix == '.sh' else [sys.executable, path]
        return subprocess.run(
            [*map(str, command), *map(str, args)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | {'PYTHON': sys.executable, 'PORT': '29711'},
        )

    return run


@pytest.fixture(scope='session')
def mini_coco(tmp_path_factory) -> Path:
    """A dozen pictures, in the layout of COCO."""
    out = tmp_path_factory.mktemp('data') / 'mini_coco'
    subprocess.run(
        [
            sys.executable,
            ROOT / 'tools/dataset_converters/make_mini_coco.py',
            out,
            '--train=8',
            '--val=4',
        ],
        check=True,
    )
    return out


@pytest.fixture(scope='session')
def options(mini_coco) -> list[str]:
    """Options that put the config on these pictures, for two epochs."""
    ann_file = mini_coco / 'annotations/instances_val2017.json'
    return [
        '--cfg-options',
        'train_cfg.max_epochs=2',
        'default_hooks.logger.interval=1',
        # After so few steps no class scores high, and no box is no score.
        'model.test_cfg.rcnn.score_thr=0.0',
        *(
            f'{mode}_dataloader.dataset.data_root={mini_coco}/'
            for mode in ('train', 'val', 'test')
        ),
        *(f'{mode}_evaluator.ann_file={ann_file}' for mode in ('val', 'test')),
    ]


# What the tests of the mini data sets share; each names its TOOL, and the
# SIZES to make.


@pytest.fixture(scope='module')
def module(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / 'tools/dataset_converters')
        yield importlib.import_module(request.module.TOOL)


@pytest.fixture(scope='module')
def main(module: ModuleType) -> Main:
    def call(*arguments: object) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, 'argv', ['', *map(str, arguments)])
            module.main()

    return call


@pytest.fixture(scope='module')
def dataset(
    main: Main,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp('data') / 'mini'
    main(out, *request.module.SIZES)
    return out
