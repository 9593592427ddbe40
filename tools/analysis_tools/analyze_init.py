# Copyright (c) mmnorm contributors. All rights reserved.
"""Measure what norms do to an untrained network, layer by layer.

The network is the backbone of a config, or one of the paper "Beyond BatchNorm"
(https://arxiv.org/abs/2106.05956). The folder --out gets the numbers of each
layer, a table with the claims of the paper, and a plot per network.
"""

import argparse
import shlex
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmnorm.analysis.untrained import (
    NETWORKS,
    Variant,
    check_claims,
    make_network,
    measure,
    parse_variant,
    summarize,
)
from mmnorm.analysis.untrained.backbones import make_backbone
from mmnorm.analysis.untrained.claims import Claim
from mmnorm.analysis.untrained.images import photographs, random_crops
from mmnorm.analysis.untrained.networks import PLAIN
from mmnorm.analysis.untrained.plots import draw
from mmnorm.analysis.untrained.probe import fixed_labels
from mmnorm.analysis.untrained.rows import Row, write_rows
from mmnorm.config.errors import ConfigError
from mmnorm.config.files import read_config
from mmnorm.engine.runner.launch import fail

DEFAULT_NORMS = (
    'BN',
    'IN',
    'LN',
    'GN',
    'GN+WS',
    'BCN',
    'BCN-batch',
    'SN',
    'FRN',
    'EvoNormS0',
    'EvoNormB0',
    'GW',
    'none',
    'none+WS',
    'none+ScaledWS',
)
SKIP_INIT = 'none+ScaledWS+SkipInit'
DEFAULT_SIZES = (4, 16, 64)
WORDS = {True: 'holds', False: 'does not hold', None: 'not measured'}
LEAST_IMAGES = 8  # as literature on the similarity of images has at least


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config', nargs='?', help='a path, or mmdet::... or mmseg::...'
    )
    parser.add_argument(
        '--network',
        nargs='+',
        choices=NETWORKS,
        help='networks of the paper; resnet56 without a config',
    )
    parser.add_argument(
        '--norms',
        nargs='+',
        help='names such as GN, BCN-batch, none, each with +WS or +ScaledWS '
        'for the convolutions, and +SkipInit in residual networks',
    )
    parser.add_argument(
        '--group-sizes',
        nargs='*',
        type=int,
        default=DEFAULT_SIZES,
        metavar='SIZE',
        help='channels per group of GN; 1 is IN',
    )
    parser.add_argument(
        '--num-groups',
        nargs='*',
        type=int,
        default=(),
        metavar='NUMBER',
        help='numbers of groups of GN; 1 is LN',
    )
    parser.add_argument(
        '--images', type=Path, help='a folder of images, instead of two'
    )
    parser.add_argument('--num-images', type=int, default=32)
    parser.add_argument(
        '--size',
        type=int,
        help='pixels of a side of an image: 32, or 128 for a config',
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/untrained')
    )
    args = parser.parse_args()
    if args.config and args.network:
        parser.error('name a config or --network, and not both')
    if args.num_images < LEAST_IMAGES:
        parser.error(
            f'--num-images is {args.num_images}: use {LEAST_IMAGES} or more'
        )
    return args


def variants_for(args: argparse.Namespace, residual: bool) -> list[Variant]:
    """Return the norms of a command, for one network."""
    names = list(args.norms or DEFAULT_NORMS)
    if args.norms is None and residual:
        names.append(SKIP_INIT)
    names += [f'GN-size-{size}' for size in args.group_sizes]
    names += [f'GN-groups-{number}' for number in args.num_groups]
    return [parse_variant(name) for name in dict.fromkeys(names)]


def build(name: str, cfg: Config | None, variant: Variant) -> nn.Module:
    if cfg is None:
        return make_network(name, variant)
    return make_backbone(cfg, variant)


def rows_of(
    name: str, variant: Variant, network: nn.Module, crops: Tensor, seed: int
) -> list[Row]:
    """Measure a network, in float64.

    Standardized weights without a norm overflow float32.
    """
    network.double()
    network.train()  # backbones of mmdet return None
    found = measure(network, crops.double(), fixed_labels(len(crops), seed))
    return [
        Row(
            name,
            variant.name,
            *one[:3],
            variant.group_size(one.channels) if one.layer else None,
            *one[3:],
        )
        for one in found
    ]


def text_of(rows: list[Row], claims: list[Claim]) -> str:
    """Return a table per network, and the claims."""
    lines = []
    for network in dict.fromkeys(row.network for row in rows):
        lines += [
            f'\n{network}\n',
            '| norm | doublings of variance per block | growth | similarity | '
            'stable rank | gradient, early | gradient, late | dead channels |',
            '|---|---|---|---|---|---|---|---|',
        ]
        found = summarize([r for r in rows if r.network == network])
        lines += [
            f'| {norm} | {s.doublings:.3f} | {s.growth:.2f} '
            f'| {s.similarity:.3f} '
            f'| {s.stable_rank:.2f} | {s.early_gradient:.3g} '
            f'| {s.late_gradient:.3g} | {s.dead:.1%} |'
            for norm, s in found.items()
        ]
    lines += ['\n| network | claim | result | figures |', '|---|---|---|---|']
    lines += [
        f'| {c.network} | {c.text} | {WORDS[c.holds]} | {c.figures} |'
        for c in claims
    ]
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    size = args.size or (128 if args.config else 32)
    rows: list[Row] = []
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f'--out {str(args.out)!r} cannot be made: {error.strerror}')
    try:
        cfg = read_config(args.config) if args.config else None
        names = [Path(args.config).stem] if cfg else args.network
        pairs = [
            (name, variant)
            for name in names or ['resnet56']
            for variant in variants_for(
                args, cfg is None and name not in PLAIN
            )
        ]
        crops = random_crops(
            photographs(args.images), args.num_images, size, args.seed
        )
        # A norm that does not fit is found before minutes of measuring.
        for name, variant in pairs:
            build(name, cfg, variant)
        for name, variant in pairs:
            torch.manual_seed(args.seed)
            network = build(name, cfg, variant)
            rows += rows_of(name, variant, network, crops, args.seed)
            print(f'measured {name} with {variant.name}', flush=True)
    except (ConfigError, ValueError) as error:
        fail(str(error))
    claims = check_claims(rows)
    write_rows(args.out / 'measures.csv', rows)
    text = text_of(rows, claims)
    command = shlex.join(['python', *sys.argv])
    (args.out / 'table.md').write_text(f'`{command}` wrote this.\n{text}\n')
    for name in dict.fromkeys(row.network for row in rows):
        of_network = [row for row in rows if row.network == name]
        draw(of_network, args.out / f'{name}.png')
    print(text)
    print(f'\nwrote {args.out}')


if __name__ == '__main__':
    main()
