# Copyright (c) mmnorm contributors. All rights reserved.
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

# The suite runs several processes side by side. With one thread per process
# no thread spins for another, and every sum has the same last bits. torch
# reads the variables on import, and all started processes inherit them.
os.environ |= {'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}

import pytest
import torch
from mmengine.registry import DefaultScope

from .paths import ROOT
from .ports import free_port
from .ranks import Ranks

Main = Callable[..., None]
TOOLBOXES = re.compile(r'^from mm(cv|det|seg)\b', re.MULTILINE)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what needs the toolboxes, in make test-torch without them."""
    if collection_path.suffix != '.py' or find_spec('mmcv'):
        return None
    return TOOLBOXES.search(collection_path.read_text()) is not None or None


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_default_scope() -> Iterator[None]:
    """Forget the default scope that a runner of the test has set."""
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='session')
def ranks() -> Iterator[Callable[[int], Ranks]]:
    """Return groups of processes by size; each starts on its first use."""
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
            env=os.environ | {'PYTHON': sys.executable, 'PORT': free_port()},
        )

    return run


@pytest.fixture(scope='session')
def mini_coco(tmp_path_factory) -> Path:
    """Make a dozen images in the layout of COCO."""
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
    """Return options that train a config on these images for two epochs."""
    ann_file = mini_coco / 'annotations/instances_val2017.json'
    return [
        '--cfg-options',
        'train_cfg.max_epochs=2',
        'default_hooks.logger.interval=1',
        # After a few steps every score is low. With a threshold the evaluation
        # would get no box, and COCO's metric needs boxes.
        'model.test_cfg.rcnn.score_thr=0.0',
        *(
            f'{mode}_dataloader.dataset.data_root={mini_coco}/'
            for mode in ('train', 'val', 'test')
        ),
        *(f'{mode}_evaluator.ann_file={ann_file}' for mode in ('val', 'test')),
    ]


# A test module that runs a command in this process names the module of the
# command in TOOL. The fixture dataset also reads SIZES, the arguments with
# the sizes of the data set.


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
