# Copyright (c) mmnorm contributors. All rights reserved.
"""Measure how near to the fixed point procedures of recalibration come.

The output of a BCN with estimates depends on its statistics, and therefore
the statistics of later layers depend on those of earlier layers. At the fixed
point the statistics of every layer match the input of this layer. Passes over
the data with fixed statistics reach the fixed point after as many passes as
there are layers in sequence. The study does this for the backbone and the neck
of a trained Mask R-CNN and compares other procedures with the fixed point, by
the distance of the means in standard deviations. The numbers go to
studies/results/recalibrate/procedures.txt.
"""

import argparse
from itertools import islice
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from mmnorm import BCN
from mmnorm.functional.statistics import batch_sums, moments_of
from mmnorm.precise.exact_statistics import recalibrate

from .recalibrate_models import RESULTS, ROOT, RUNS, make_runner

NAME = 'mask-rcnn_r18_fpn_bcn-all_1xb1-3e_mini-coco'
PASSES = 24
Moments = dict[str, tuple[Tensor, Tensor]]


class Features(nn.Module):
    """The backbone and the neck of a model; neither is random."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.neck = model.backbone, model.neck

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.neck(self.backbone(x))


def norms(net: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Return the batch norms inside the BCN layers, by name."""
    named = net.named_modules()
    return {name: m.bn for name, m in named if isinstance(m, BCN)}


@torch.no_grad()
def one_pass(net: nn.Module, batches: list[Tensor], own: bool) -> None:
    """Give each layer the statistics of its input over the data.

    Meanwhile all layers normalize with their own statistics; without ``own``,
    with those of each batch.
    """
    sums, handles = {}, []
    for name, bn in norms(net).items():

        def look(layer: BCN, args: tuple[Tensor], name: str = name) -> None:
            x = args[0].flatten(2)
            var, mean = torch.var_mean(x, 2, correction=0)
            seen = batch_sums(mean, var, x.shape[2])
            sums[name] = sums.get(name, 0) + seen
            if not own:
                put(layer.bn, seen)

        bn.eval()
        layer = net.get_submodule(name)
        handles.append(layer.register_forward_pre_hook(look))
    for batch in batches:
        net(batch)
    for handle in handles:
        handle.remove()
    for name, bn in norms(net).items():
        put(bn, sums[name])


def put(bn: nn.Module, sums: Tensor) -> None:
    """Give a batch norm the moments of pooled sums."""
    mean, var, _ = moments_of(sums)
    bn.running_mean.copy_(mean)
    bn.running_var.copy_(var)


def moments(net: nn.Module) -> Moments:
    """Return a copy of the statistics of all layers."""
    return {
        name: (bn.running_mean.clone(), bn.running_var.clone())
        for name, bn in norms(net).items()
    }


def distance(actual: Moments, expected: Moments) -> str:
    """Return how far the means are apart, in standard deviations."""
    off = [
        ((actual[name][0] - mean).abs() / (var + 1e-5).sqrt()).mean().item()
        for name, (mean, var) in expected.items()
    ]
    return f'median layer {median(off):.4f}, worst layer {max(off):.4f}'


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m studies.recalibrate_procedures', description=__doc__
    )
    parser.add_argument(
        '--work-dirs',
        type=Path,
        default=ROOT / 'work_dirs/mini',
        help='folder with the runs of studies/train_mini.py',
    )
    parser.add_argument(
        '--num-batches', type=int, default=100, help='batches of a pass'
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    runner = make_runner(NAME, args.work_dirs, 0)
    net, prepare = Features(runner.model), runner.model.data_preprocessor
    batches, others = (
        [
            prepare(batch, True)['inputs']
            for batch in islice(
                runner.build_dataloader(runner.cfg.train_dataloader, seed),
                args.num_batches,
            )
        ]
        for seed in (1, 2)
    )
    start = {k: v.clone() for k, v in net.state_dict().items()}
    lines = [f'{RUNS[NAME]} of {NAME}, {args.num_batches} batches']

    passes = []
    for _ in range(PASSES):
        one_pass(net, batches, own=True)
        passes.append(moments(net))
    point = passes[-1]
    for number in (1, 2, 3, 5, 9, 13, 17):
        said = distance(passes[number - 1], point)
        lines.append(
            f'{number} passes from the statistics of training: {said}'
        )

    net.load_state_dict(start)
    one_pass(net, batches, own=False)
    said = distance(moments(net), point)
    lines.append(f'one pass, each batch with its own statistics: {said}')
    for number in (2, 3, 4):
        one_pass(net, batches, own=True)
        said = distance(moments(net), point)
        lines.append(f'{number} passes, the first one of that kind: {said}')

    net.load_state_dict(start)
    recalibrate(net.train(), batches)
    said = distance(moments(net), point)
    lines.append(f'recalibrate, one pass, all batches so far: {said}')
    for _ in range(PASSES):
        one_pass(net, others, own=True)
    said = distance(moments(net), point)
    lines.append(f'the fixed point of other batches: {said}')

    text = '\n'.join(lines) + '\n'
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / 'procedures.txt').write_text(text)
    print(text, end='')


if __name__ == '__main__':
    main()
