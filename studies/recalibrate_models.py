# Copyright (c) mmnorm contributors. All rights reserved.
"""Measure the effect of recalibration on trained mini models.

The study evaluates each checkpoint of studies/train_mini.py in these
states: as trained, after steps that moved only the statistics, recalibrated,
with random statistics, and recalibrated after that. Then the study evaluates
noisy images, with the statistics of the checkpoint and with those of noisy
training images. The numbers go to studies/results/recalibrate/results.json.
"""

import argparse
import json
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from mmengine.runner import Runner

from mmnorm.engine.runner.launch import build_runner
from mmnorm.precise.training_batches import recalibrate_on, training_data

ROOT = Path(__file__).parents[1]
RUNS = {
    'mask-rcnn_r18_fpn_bn-all_1xb1-3e_mini-coco': 'epoch_3.pth',
    'mask-rcnn_r18_fpn_bcn-all_1xb1-3e_mini-coco': 'epoch_3.pth',
    'mask-rcnn_r18_fpn_sn-all_1xb1-3e_mini-coco': 'epoch_3.pth',
    'deeplabv3_r18-d8_syncbn-all_1xb1-2k_mini-cityscapes': 'iter_2000.pth',
    'deeplabv3_r18-d8_bcn-all_1xb1-2k_mini-cityscapes': 'iter_2000.pth',
    'deeplabv3_r18-d8-ws_bcn-all_1xb1-2k_mini-cityscapes': 'iter_2000.pth',
}
RESULTS = ROOT / 'studies/results/recalibrate'
METRICS = ('coco/bbox_mAP', 'coco/segm_mAP', 'mIoU')


@TRANSFORMS.register_module()
class AddNoise(BaseTransform):
    """A transform that adds normal noise, of ``std`` of the 256 levels."""

    def __init__(self, std: float) -> None:
        self.std = std

    def transform(self, results: dict) -> dict:
        image = results['img']
        noise = self.std * np.random.standard_normal(image.shape)  # noqa: NPY002
        results['img'] = (image + noise).clip(0, 255).astype(np.uint8)
        return results


def make_runner(name: str, work_dirs: Path, noise: float) -> Runner:
    """Return a runner of a trained model, for images with noise."""
    cfg = Config.fromfile(ROOT / 'configs/mini' / f'{name}.py')
    for mode in ('train', 'test'):
        if noise:  # The first transform loads the image.
            pipeline = cfg[f'{mode}_dataloader'].dataset.pipeline
            pipeline.insert(1, dict(type='AddNoise', std=noise))
    cfg.work_dir = str(work_dirs / 'recalibrate' / name)
    cfg.launcher, cfg.log_level = 'none', 'WARNING'
    cfg.default_hooks.pop('visualization', None)
    runner = build_runner(cfg)
    runner.call_hook('before_run')
    runner.load_checkpoint(str(work_dirs / name / RUNS[name]), 'cpu')
    return runner


def evaluate(runner: Runner) -> dict[str, float]:
    np.random.seed(0)  # noqa: NPY002  The noise of all calls is the same.
    values = runner.test_loop.run()
    return {key: float(values[key]) for key in METRICS if key in values}


def recalibrate(runner: Runner, num_batches: int) -> None:
    data = training_data(runner)
    recalibrate_on(data, runner, runner.model, num_batches)


def move_on(runner: Runner, seed: int, num_batches: int = 100) -> None:
    """Move the statistics as training does, and keep the weights."""
    model = runner.model.train()
    torch.manual_seed(seed)
    loader = runner.build_dataloader(runner.cfg.train_dataloader, seed)
    with torch.no_grad():
        for batch in islice(loader, num_batches):
            model(**model.data_preprocessor(batch, True), mode='loss')


def scramble(runner: Runner) -> None:
    """Set the statistics to random numbers.

    Statistics that training has never moved keep their values.
    """
    generator = torch.Generator().manual_seed(0)
    for module in runner.model.modules():
        if getattr(module, 'running_mean', None) is None:
            continue
        if module.num_batches_tracked > 0:
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.1, 4, generator=generator)


def measure(
    name: str, work_dirs: Path, num_batches: int, noise: float
) -> dict[str, dict[str, float]]:
    """Return the results of a trained model in each state."""
    runner = make_runner(name, work_dirs, 0)
    seen = {'as trained': evaluate(runner)}
    for seed in range(1, 4):
        move_on(runner, seed)
        seen[f'{100 * seed} steps without learning'] = evaluate(runner)
    recalibrate(runner, num_batches)
    seen['recalibrated'] = evaluate(runner)
    scramble(runner)
    seen['scrambled'] = evaluate(runner)
    recalibrate(runner, num_batches)
    seen['scrambled, recalibrated'] = evaluate(runner)
    runner = make_runner(name, work_dirs, noise)
    seen['noise'] = evaluate(runner)
    recalibrate(runner, num_batches)
    seen['noise, recalibrated'] = evaluate(runner)
    return seen


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return a table of the detectors and one of the segmenters."""
    tables = []
    for metrics in (METRICS[:2], METRICS[2:]):
        runs = {n: r for n, r in results.items() if metrics[0] in r['noise']}
        titles = [name.rsplit('_', 2)[0] for name in runs]
        rows = [f'| statistics | {" | ".join(titles)} |']
        rows.append('|---' * (len(titles) + 1) + '|')
        for state in next(iter(runs.values())):
            cells = [
                ' / '.join(f'{run[state][key]:.4g}' for key in metrics)
                for run in runs.values()
            ]
            rows.append(f'| {state} | {" | ".join(cells)} |')
        tables.append('\n'.join(rows))
    return '\n\n'.join(tables)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m studies.recalibrate_models', description=__doc__
    )
    parser.add_argument(
        '--work-dirs',
        type=Path,
        default=ROOT / 'work_dirs/mini',
        help='folder with the runs of studies/train_mini.py',
    )
    parser.add_argument(
        '--num-batches',
        type=int,
        default=400,
        help='batches of a recalibration',
    )
    parser.add_argument(
        '--noise',
        type=float,
        default=40,
        help='standard deviation of the noise, in levels of 256',
    )
    parser.add_argument(
        '--only', default='', help='run only models with this in their names'
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    out = RESULTS / 'results.json'
    results = json.loads(out.read_text()) if out.is_file() else {}
    for name in RUNS:
        if args.only in name:
            results[name] = measure(
                name, args.work_dirs, args.num_batches, args.noise
            )
            out.write_text(json.dumps(results, indent=2) + '\n')
    print(table(results))


if __name__ == '__main__':
    main()
