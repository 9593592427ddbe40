# Copyright (c) mmnorm contributors. All rights reserved.
"""Measure how folding changes the results and the time of models.

The benchmark tests every trained model of configs/mini before and after
folding, and times R50 models with random weights. The results go to
benchmarks/results/fold and into the tables of docs/deploy.md.
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

import mmnorm  # noqa: F401  registers the layers
from mmnorm.deploy.fold import fold
from mmnorm.engine.runner.launch import fail
from studies.page import replace_marked

from .clock import interleave, seconds

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'benchmarks/results/fold'
PAGE = ROOT / 'docs/deploy.md'
METRICS = ('coco/bbox_mAP', 'coco/segm_mAP', 'mIoU')
NUM_IMAGES = 8
REPEATS = {'trained': 20, 'untrained': 7}
SIZE = 256
LARGE = (
    'syncbn/deeplabv3_r50-d8_syncbn-all_4xb2-40k_cityscapes-512x1024',
    'bcn/deeplabv3_r50-d8_bcn-all_4xb2-40k_cityscapes-512x1024',
    'bcn/deeplabv3_r50-d8-ws_bcn-all_4xb2-40k_cityscapes-512x1024',
    'gn/deeplabv3_r50-d8-ws_gn-all_4xb2-40k_cityscapes-512x1024',
    'syncbn/mask-rcnn_r50_fpn_syncbn-all_8xb1-2x_coco',
    'bcn/mask-rcnn_r50_fpn_bcn-all_8xb1-2x_coco',
    'bcn/mask-rcnn_r50_fpn_bcn-ws-all_8xb1-2x_coco',
    'gn/mask-rcnn_r50_fpn_gn-ws-all_8xb1-2x_coco',
)


def scores(config: Path, checkpoint: Path, *options: str) -> dict:
    """Return the results of tools/test.py for a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, ROOT / 'tools/test.py', config, checkpoint]
        command += ['--work-dir', folder, *options]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        record = json.loads(next(Path(folder).glob('*/*.json')).read_text())
    return {key: record[key] for key in METRICS if key in record}


def logits(model: nn.Module, data: dict, proposals: list | None) -> tuple:
    """Return all outputs of the heads, and the proposals of the RPN.

    The heads of a detector are given the proposals, where there are some.
    """
    if not hasattr(model, 'roi_head'):
        return [model(**data, mode='tensor')], None
    x = model.extract_feat(data['inputs'])
    if proposals is None:
        samples = data['data_samples']
        proposals = model.rpn_head.predict(x, samples, rescale=False)
    maps, boxes = model.rpn_head(x)
    return [*maps, *boxes, *model.roi_head.forward(x, proposals)], proposals


def largest_difference(
    model: nn.Module, folded: nn.Module, images: list[dict]
) -> tuple[float, float]:
    """Return the largest difference of logits, and the largest logit."""

    def largest(tensors: list[Tensor]) -> float:
        return max(tensor.abs().max().item() for tensor in tensors)

    difference = logit = 0.0
    for data in images:
        before, proposals = logits(model, data, None)
        after, _ = logits(folded, data, proposals)
        pairs = zip(before, after, strict=True)
        difference = max(difference, largest([a - b for a, b in pairs]))
        logit = max(logit, largest(before))
    return difference, logit


def shortest_times(
    model: nn.Module,
    folded: nn.Module,
    call: Callable[[nn.Module], object],
    repeats: int,
) -> list[float]:
    """Return the shortest time of a call before and after folding."""
    times = interleave(
        {'before': model, 'after': folded},
        lambda one: seconds(partial(call, one), 'cpu'),
        repeats,
    )
    return [min(values) for values in times.values()]


@torch.no_grad()
def trained(config: Path, checkpoint: Path) -> dict:
    """Measure the outputs, the time and the results of a trained model."""
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).eval()
    load_checkpoint(model, str(checkpoint), map_location='cpu')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    images = [
        model.data_preprocessor(pseudo_collate([dataset[i]]))
        for i in range(min(NUM_IMAGES, len(dataset)))
    ]
    folded = copy.deepcopy(model)
    folds = fold(folded, **images[0], mode='tensor')
    difference, logit = largest_difference(model, folded, images)
    times = shortest_times(
        model,
        folded,
        lambda one: one(**images[0], mode='predict'),
        REPEATS['trained'],
    )
    return dict(
        folded=len(folds.folded),
        kept=len(folds.kept),
        difference=difference,
        logit=logit,
        seconds=times,
        scores=[
            scores(config, checkpoint),
            scores(config, checkpoint, '--fold'),
        ],
    )


@torch.no_grad()
def untrained(config: Path) -> dict:
    """Measure the time of a network up to its logits or feature pyramid."""
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).eval()
    last = model.neck if model.with_neck else model.decode_head
    network = nn.Sequential(model.backbone, last)
    x = torch.rand(1, 3, SIZE, SIZE)
    folded = copy.deepcopy(network)
    folds = fold(folded, x)
    times = shortest_times(
        network, folded, lambda one: one(x), REPEATS['untrained']
    )
    return dict(folded=len(folds.folded), kept=len(folds.kept), seconds=times)


def row(name: str, result: dict) -> str:
    """Return the row of one config."""
    before, after = (1000 * each for each in result['seconds'])
    cells = [name, result['folded'], result['kept']]
    if 'scores' in result:
        cells += [
            ' / '.join(f'{each:.4g}' for each in scores.values())
            for scores in result['scores']
        ]
        cells.append(f'{result["difference"]:.1e} of {result["logit"]:.3g}')
    cells += [f'{before:.0f}', f'{after:.0f}', f'{after / before:.2f}']
    return f'| {" | ".join(map(str, cells))} |'


def table(results: dict[str, dict]) -> str:
    """Return a table with a row for each config."""
    times = ['ms before', 'ms after', 'after / before']
    titles = ['config', 'folded', 'kept']
    if 'scores' in next(iter(results.values())):
        titles += ['AP or mIoU before', 'after', 'largest change of a logit']
    titles += times
    rows = [f'| {" | ".join(titles)} |', '|---' * len(titles) + '|']
    rows += [row(name, result) for name, result in results.items()]
    return '\n'.join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.fold_cost', description=__doc__
    )
    parser.add_argument(
        '--work-dirs',
        type=Path,
        default=ROOT / 'work_dirs/mini',
        help='folder with the runs of studies/train_mini.py',
    )
    work_dirs = parser.parse_args().work_dirs
    torch.set_num_threads(1)
    results = {'trained': {}, 'untrained': {}}
    for config in sorted((ROOT / 'configs/mini').glob('*_mini-c*.py')):
        last = work_dirs / config.stem / 'last_checkpoint'
        if not last.is_file():
            fail(
                f'{str(last.parent)!r} holds no trained model: run '
                'python -m studies.train_mini, or name another folder '
                'with --work-dirs'
            )
        checkpoint = last.with_name(Path(last.read_text()).name)
        results['trained'][config.stem] = trained(config, checkpoint)
        print(row(config.stem, results['trained'][config.stem]), flush=True)
    for name in LARGE:
        config = ROOT / f'configs/{name}.py'
        results['untrained'][config.stem] = untrained(config)
        print(row(config.stem, results['untrained'][config.stem]), flush=True)

    RESULTS.mkdir(parents=True, exist_ok=True)
    page = PAGE.read_text()
    for kind, of_kind in results.items():
        path = RESULTS / f'{kind}.json'
        path.write_text(json.dumps(of_kind, indent=1) + '\n')
        page = replace_marked(page, kind, table(of_kind))
    PAGE.write_text(page)


if __name__ == '__main__':
    main()
