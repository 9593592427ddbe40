# Copyright (c) mmnorm contributors. All rights reserved.
"""Export a segmenter, or backbone and neck of a detector, to ONNX.

The file takes normalized images of any number and size. If onnxruntime is
installed, the outputs of the file are compared with those of the model.
"""

import argparse
import os
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten

import torch
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

import mmnorm  # noqa: F401  registers the layers
from mmnorm.checkpoints.checks import checkpoint_error, existing_error
from mmnorm.config.build_model import build_model
from mmnorm.config.errors import ConfigError
from mmnorm.config.files import read_config
from mmnorm.deploy.chosen_norm import deploy_chosen
from mmnorm.deploy.fold import fold
from mmnorm.engine.runner.launch import fail

# Images, height and width.
EXAMPLE = (2, 96, 128)
COMPARED = ((1, 128, 96), (3, 64, 160))
# The largest error of the file, as a share of the largest output.
TOLERANCE = 1e-4


class Network(nn.Module):
    """The part of a model that maps images to a fixed number of tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the scores of a segmenter, or the maps of a detector."""
        if hasattr(self.model, 'encode_decode'):
            sizes = dict.fromkeys(
                ('ori_shape', 'img_shape', 'pad_shape'), image.shape[2:]
            )
            return (self.model.encode_decode(image, [sizes]),)
        return tuple(self.model.extract_feat(image))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='a path, or mmdet::... or mmseg::...')
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
        fail(f'{args.out!r} is in a folder that does not exist: make it')
    missing = [p for p in ('onnx', 'onnxscript') if find_spec(p) is None]
    if missing:
        fail(
            f'torch exports with {" and ".join(missing)}, which this '
            f'environment lacks: pip install {" ".join(missing)}'
        )
    error = checkpoint_error(args.checkpoint)
    if error is not None:
        fail(error)


def build(args: argparse.Namespace) -> nn.Module:
    """Build the model of the config with the weights of the checkpoint."""
    try:
        cfg = read_config(args.config)
    except ConfigError as error:
        fail(str(error))
    try:
        model = build_model(cfg).eval()
    except ConfigError as error:
        fail(f'config {args.config!r} does not build a model: {error}')
    if not hasattr(model, 'extract_feat'):
        fail(
            f'config {args.config!r} has a {type(model).__name__}, which is '
            'neither a segmenter nor a detector'
        )
    try:
        load_checkpoint(model, args.checkpoint, 'cpu', strict=True)
    except RuntimeError as error:
        _, first, *_ = [*filter(None, str(error).splitlines()), '']
        fail(
            f'checkpoint {args.checkpoint!r} does not fit the model of '
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
    """Return the largest error of the file, and the largest output."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    generator = torch.Generator().manual_seed(0)
    error = largest = 0.0
    for n, height, width in COMPARED:
        image = torch.rand(n, 3, height, width, generator=generator)
        outputs = session.run(None, {'image': image.numpy()})
        for expected, output in zip(network(image), outputs, strict=True):
            distance = (expected - torch.from_numpy(output)).abs()
            error = max(error, distance.max())
            largest = max(largest, expected.abs().max())
    return float(error), float(largest)


@torch.no_grad()
def main() -> None:
    args = parse_args()
    check(args)
    network = Network(build(args)).eval()
    if args.fold:
        deploy_chosen(network)
        fold(network, torch.rand(1, 3, *EXAMPLE[1:]))
    out = Path(args.out)
    part = out.with_name(f'{out.name}.part')
    try:
        export(network, part)
        note = 'not compared: onnxruntime is not installed'
        if find_spec('onnxruntime') is not None:
            error, largest = difference(network, part)
            if not error <= TOLERANCE * largest:
                fail(
                    'the exported network differs from the model by '
                    f'{error:.1e}, of outputs up to {largest:.3g}: nothing is '
                    'written'
                )
            note = (
                f'off by {error:.1e} at most, of outputs up to {largest:.3g}'
            )
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    print(f'{args.out}: {out.stat().st_size / 1e6:.1f} MB, {note}')


if __name__ == '__main__':
    main()
