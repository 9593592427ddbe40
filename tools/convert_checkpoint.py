# Copyright (c) mmnorm contributors. All rights reserved.
"""Convert a checkpoint of others for the layers of mmnorm.

Says what it converted and left out and, with a config, what of it goes into
its model.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement
from sklearn.datasets import load_sample_images
from torch import nn

import mmnorm  # noqa: F401  registers the layers
from mmnorm.checkpoints import (
    KINDS,
    Converted,
    convert,
    load,
    read_checkpoint,
    standardization_warnings,
    state_of,
    write_checkpoint,
)
from mmnorm.config.checks import norm_error
from mmnorm.engine.runner.launch import fail, find_config
from mmnorm.precise import input_statistics

SHOWN = 5
"""Names of a list that are printed."""
DATA = ('dataset_meta', 'CLASSES', 'PALETTE')
"""What stays of the meta of a checkpoint: its config is of another norm."""


def parse_args() -> argparse.Namespace:
    kinds = '\n'.join(f'  {name:<15} {k.about}' for name, k in KINDS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f'kinds:\n{kinds}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('kind', help='what IN is: one of those below')
    parser.add_argument('in_file', metavar='IN', help='checkpoint to read')
    parser.add_argument('out_file', metavar='OUT', help='checkpoint to write')
    parser.add_argument(
        '--config', help='config it is for: a path, mmdet::... or mmseg::...'
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='run two photographs through the model and compare what its '
        'norms get with their running statistics; needs --config',
    )
    return parser.parse_args()


def listed(names: Sequence[str]) -> str:
    """How many there are, and the first of them."""
    shown = ', '.join(names[:SHOWN])
    more = len(names) - SHOWN
    if more > 0:
        shown += f' and {more} more'
    return f'{len(names)} ({shown})' if names else '0'


def build(name: str) -> nn.Module:
    """The model of a config, with random weights."""
    path = find_config(name)
    try:
        cfg = Config.fromfile(path)
        scope = cfg.get('default_scope')
        with DefaultScope.overwrite_default_scope(scope):
            return MODELS.build(cfg.model)
    except Exception as error:  # a config is code, and can raise any
        sentence = norm_error(error)
        while (inner := error.__cause__ or error.__context__) is not None:
            error = inner
        fail(f'config {name!r} does not build a model: {sentence or error}')


def compare(model: nn.Module, path: str, converted: Converted, kind: str):
    """Load into a model, or its backbone, and say what went where."""
    found = load(model, converted.state_dict)
    if not found.matched:
        fail(
            f'none of the {len(converted.state_dict)} converted keys is in '
            f'{path}: is the config of another model, or of another norm?'
        )
    total = len(model.state_dict())
    print(f'matched: {len(found.matched)} of {total} in {path}')
    print(f'missing: {listed(found.missing)}')
    print(f'unexpected: {listed(found.unexpected)}')
    if found.mismatched:
        print(f'other shapes: {listed(found.mismatched)}')
    standardized = KINDS[kind].standardized
    for text in standardization_warnings(model, found.matched, standardized):
        print(f'warning: {text}')


def check(whole: nn.Module, part: nn.Module) -> None:
    """Run photographs and say which norms get what they do not expect."""
    photographs = [
        # In the order of channels that OpenMMLab reads files in.
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
        data = whole.data_preprocessor(data)
        if part is whole:
            whole(**data, mode='tensor')
        else:
            part(data['inputs'])

    try:
        seen = input_statistics(part, forward)
    except Exception as error:  # the parts of a model check in any way
        fail(f'--check cannot run the model: {type(error).__name__}: {error}')
    if not seen:
        print('no norm of the model has running statistics')
        return
    print('input of each norm, in units of its running statistics:')
    width = max(len(layer.name) for layer in seen)
    for layer in seen:
        print(
            f'  {layer.name:<{width}}  mean off by {layer.shift:6.2f}, '
            f'variance times {layer.ratio:8.3g}'
            f'{"  far off" if layer.far_off else ""}'
        )
    print(f'far off: {listed([x.name for x in seen if x.far_off])}')


def main() -> None:
    args = parse_args()
    if args.kind not in KINDS:
        fail(f'kind {args.kind!r} is not one of {", ".join(KINDS)}')
    if args.check and args.config is None:
        fail('--check needs --config')
    if Path(args.out_file).exists():
        fail(f'{args.out_file!r} is there already: name another file')
    try:
        checkpoint = read_checkpoint(args.in_file)
    except ValueError as error:
        fail(str(error))
    try:
        converted = convert(args.kind, state_of(checkpoint))
    except ValueError as error:
        fail(f'checkpoint {args.in_file!r} {error}')

    print(f'converted: {len(converted.state_dict)} tensors')
    for note in converted.notes:
        print(note)
    print(f'unused: {listed(converted.unused)}')
    for text in converted.warnings:
        print(f'warning: {text}')
    print(f'for: {KINDS[args.kind].config}')

    if args.config is not None:
        whole = part = build(args.config)
        path = 'the model'
        names = converted.state_dict
        if not any(name.startswith('backbone.') for name in names):
            path = 'model.backbone'
            part = getattr(whole, 'backbone', None)
            if part is None:
                fail(f'config {args.config!r} has no model.backbone')
        compare(part, path, converted, args.kind)
        if args.check:
            check(whole, part)

    meta = checkpoint.get('meta', {})
    kept = {key: meta[key] for key in DATA if key in meta}
    source = dict(kind=args.kind, file=Path(args.in_file).name)
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
