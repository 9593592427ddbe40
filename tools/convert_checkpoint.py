# Copyright (c) mmnorm contributors. All rights reserved.
"""Convert a checkpoint of another project for the layers of mmnorm.

Says what was converted and left out and, with a config, what of the result
goes into its model.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.structures import BaseDataElement
from sklearn.datasets import load_sample_images
from torch import nn

import mmnorm  # noqa: F401  registers the layers
from mmnorm.checkpoints import (
    FORMATS,
    Converted,
    convert,
    load,
    read_checkpoint,
    standardization_warnings,
    state_of,
    write_checkpoint,
)
from mmnorm.checkpoints.checks import existing_error
from mmnorm.config.build_model import build_model
from mmnorm.config.errors import ConfigError
from mmnorm.config.files import read_config
from mmnorm.engine.runner.launch import fail
from mmnorm.precise import input_statistics

SHOWN = 5
"""Names of a list that are printed."""
DATA = ('dataset_meta', 'CLASSES', 'PALETTE')
"""Keys of the meta that stay: the config in it is for another norm."""


def parse_args() -> argparse.Namespace:
    formats = '\n'.join(
        f'  {name:<15} {f.description}' for name, f in FORMATS.items()
    )
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f'formats:\n{formats}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('format', help='the format of IN, as listed below')
    parser.add_argument('in_file', metavar='IN', help='checkpoint to read')
    parser.add_argument('out_file', metavar='OUT', help='checkpoint to write')
    parser.add_argument(
        '--config',
        help='config that the weights are for: a path, mmdet::... or '
        'mmseg::...',
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='run two photographs through the model and compare the input of '
        'its norms with their running statistics; needs --config',
    )
    return parser.parse_args()


def shortened(names: Sequence[str]) -> str:
    """Return the number of names, and the first names."""
    shown = ', '.join(names[:SHOWN])
    more = len(names) - SHOWN
    if more > 0:
        shown += f' and {more} more'
    return f'{len(names)} ({shown})' if names else '0'


def build(name: str) -> nn.Module:
    """Build the model of a config, with random weights."""
    try:
        cfg = read_config(name)
    except ConfigError as error:
        fail(str(error))
    try:
        return build_model(cfg)
    except ConfigError as error:
        fail(f'config {name!r} does not build a model: {error}')


def find_part(model: nn.Module, state: dict, config: str) -> str:
    """Return the name of the part of a model that a state dict is for."""
    if any(name.startswith('backbone.') for name in state):
        return ''
    if not hasattr(model, 'backbone'):
        fail(f'config {config!r} has no model.backbone')
    return 'backbone'


def compare(
    model: nn.Module, path: str, converted: Converted, format_name: str
) -> None:
    """Load into a model, or its backbone, and say what went where."""
    comparison = load(model, converted.state_dict)
    if not comparison.matched:
        fail(
            f'none of the {len(converted.state_dict)} converted keys is in '
            f'{path}: is the config of another model, or of another norm?'
        )
    total = len(model.state_dict())
    print(f'matched: {len(comparison.matched)} of {total} in {path}')
    print(f'missing: {shortened(comparison.missing)}')
    print(f'unexpected: {shortened(comparison.unexpected)}')
    if comparison.mismatched:
        print(f'other shapes: {shortened(comparison.mismatched)}')
    chosen = FORMATS[format_name]
    for text in standardization_warnings(
        model, comparison.matched, chosen.standardized, chosen.eps_inside_root
    ):
        print(f'warning: {text}')


def check(model: nn.Module, part: nn.Module) -> None:
    """Run photographs, and name the norms with unexpected input."""
    photographs = [
        # OpenMMLab reads files in this order of channels.
        torch.from_numpy(np.ascontiguousarray(image[..., ::-1]))
        for image in load_sample_images().images
    ]
    shape = photographs[0].shape[:2]
    samples = [
        BaseDataElement(
            metainfo=dict(
                img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0)
            )
        )
        for _ in photographs
    ]
    inputs = [image.permute(2, 0, 1) for image in photographs]

    def forward() -> None:
        data = dict(inputs=inputs, data_samples=samples)
        data = model.data_preprocessor(data)
        if part is model:
            model(**data, mode='tensor')
        else:
            part(data['inputs'])

    statistics = input_statistics(part, forward)
    if not statistics:
        print('no norm of the model has running statistics')
        return
    print('input of each norm, in units of its running statistics:')
    width = max(len(norm.name) for norm in statistics)
    for norm in statistics:
        print(
            f'  {norm.name:<{width}}  mean off by {norm.mean_shift:6.2f}, '
            f'variance times {norm.var_ratio:8.3g}'
            f'{"  far off" if norm.far_off else ""}'
        )
    far_off = [norm.name for norm in statistics if norm.far_off]
    print(f'far off: {shortened(far_off)}')


def main() -> None:
    args = parse_args()
    if args.format not in FORMATS:
        fail(f'format {args.format!r} is not one of {", ".join(FORMATS)}')
    if args.check and args.config is None:
        fail('--check needs --config')
    if error := existing_error(args.out_file):
        fail(error)
    try:
        checkpoint = read_checkpoint(args.in_file)
    except ValueError as error:
        fail(str(error))
    try:
        converted = convert(args.format, state_of(checkpoint))
    except ValueError as error:
        fail(f'checkpoint {args.in_file!r} {error}')

    print(f'converted: {len(converted.state_dict)} tensors')
    for note in converted.notes:
        print(note)
    print(f'unused: {shortened(converted.unused)}')
    for text in converted.warnings:
        print(f'warning: {text}')
    print(f'for: {FORMATS[args.format].config}')

    if args.config is not None:
        model = build(args.config)
        name = find_part(model, converted.state_dict, args.config)
        part = model.get_submodule(name)
        path = f'model.{name}' if name else 'the model'
        compare(part, path, converted, args.format)
        if args.check:
            check(model, part)

    meta = checkpoint.get('meta', {})
    kept = {key: meta[key] for key in DATA if key in meta}
    source = dict(format=args.format, file=Path(args.in_file).name)
    try:
        write_checkpoint(
            dict(
                meta=kept | dict(converted=source),
                state_dict=converted.state_dict,
            ),
            args.out_file,
        )
    except ValueError as error:
        fail(str(error))
    print(f'wrote {args.out_file}')


if __name__ == '__main__':
    main()
