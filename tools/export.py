# Copyright (c) mmnorm contributors. All rights reserved.
"""Export a segmenter, or backbone and neck of a detector, to ONNX.

The file takes normalized images of any number and size. What it computes is
compared with the model by onnxruntime, if that is installed.
"""

import argparse
import os
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

import mmnorm  # noqa: F401  registers the layers
from mmnorm.checkpoints.checks import checkpoint_error, existing_error
from mmnorm.config.checks import norm_error
from mmnorm.deploy.fold import fold
from mmnorm.engine.runner.launch import fail, find_config

# Of what is exported, and of what is compared: images, height, width.
EXAMPLE = (2, 96, 128)
COMPARED = ((1, 128, 96), (3, 64, 160))
# Share of the largest output by which the file may be off.
TOLERANCE = 1e-4


class Network(nn.Module):
    """All of a model that takes images and gives tensors of fixed number."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        if hasattr(self.model, 'encode_decode'):
            sizes = dict.fromkeys(
                ('ori_shape', 'img_shape', 'pad_shape'), image.shape[2:]
            )
            return (self.model.encode_decode(image, [sizes]),)
        return tuple(self.model.extract_feat(image))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path of the checkpoint')
    parser.add_argument('out', help='.onnx file to write')
    parser.add_argument(
        '--fold',
        action='store_true',
        help='fold batch statistics and standardized weights into the '
        'convolutions first',
    )
    return parser.parse_args()


def check(args: argparse.Namespace) -> None:
    """End with a sentence if something is missing."""
    out = Path(args.out)
    if out.suffix != '.onnx':
        fail(f'{args.out!r} has to end in .onnx')
    if error := existing_error(args.out):
        fail(error)
    if not out.parent.is_dir():
        fail(f'{str(out.parent)!r}, where {out.name} is to go, is no folder')
    missing = [p for p in ('onnx', 'onnxscript') if find_spec(p) is None]
    if missing:
        fail(
            f'{" and ".join(missing)}, which torch exports with, is not '
            f'installed: pip install {" ".join(missing)}'
        )
    error = checkpoint_error(args.checkpoint)
    if error is not None:
        fail(error)


def build(args: argparse.Namespace) -> nn.Module:
    """The model of the config with the weights of the checkpoint."""
    try:
        cfg = Config.fromfile(find_config(args.config))
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        model = MODELS.build(cfg.model).eval()
    except Exception as error:  # a config is code, and can raise any
        fail(
            f'the model of {args.config!r} cannot be built: '
            f'{norm_error(error) or error}'
        )
    if not hasattr(model, 'extract_feat'):
        kind = type(model).__name__
        fail(
            f'{args.config!r} has a {kind}, which is neither a segmenter nor '
            'a detector'
        )
    try:
        load_checkpoint(model, args.checkpoint, 'cpu', strict=True)
    except RuntimeError as error:
        _, first, *_ = [*filter(None, str(error).splitlines()), '']
        fail(
            f'checkpoint {args.checkpoint!r} is not of the model of '
            f'{args.config!r}: {shorten(first, 90)}'
        )
    return model


def export(network: nn.Module, path: Path) -> None:
    n, height, width = EXAMPLE
    image = torch.rand(n, 3, height, width)
    any_size = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    program = torch.onnx.export(
        network,
        (image,),
        dynamo=True,
        dynamic_shapes=(any_size,),
        input_names=['image'],
        verbose=False,
    )
    program.save(path)


def difference(network: nn.Module, path: Path) -> tuple[float, float]:
    """How far the file is off, and the largest output."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    generator = torch.Generator().manual_seed(0)
    off = largest = 0.0
    for n, height, width in COMPARED:
        image = torch.rand(n, 3, height, width, generator=generator)
        said = session.run(None, {'image': image.numpy()})
        for ours, theirs in zip(network(image), said, strict=True):
            off = max(off, (ours - torch.from_numpy(theirs)).abs().max())
            largest = max(largest, ours.abs().max())
    return float(off), float(largest)


@torch.no_grad()
def main() -> None:
    args = parse_args()
    check(args)
    network = Network(build(args))
    if args.fold:
        fold(network, torch.rand(1, 3, *EXAMPLE[1:]))
    out = Path(args.out)
    part = out.with_name(f'{out.name}.part')
    try:
        export(network, part)
        said = 'not compared: onnxruntime is not installed'
        if find_spec('onnxruntime') is not None:
            off, largest = difference(network, part)
            if not off <= TOLERANCE * largest:
                fail(
                    f'what was exported differs from the model by {off:.1e}, '
                    f'of outputs up to {largest:.3g}: nothing is written'
                )
            said = f'off by {off:.1e} at most, of outputs up to {largest:.3g}'
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    print(f'{args.out}: {out.stat().st_size / 1e6:.1f} MB, {said}')


if __name__ == '__main__':
    main()
