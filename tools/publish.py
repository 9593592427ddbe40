# Copyright (c) mmnorm contributors. All rights reserved.
"""Make a small checkpoint for users from a checkpoint of training.

Keeps the weights, the classes and the config. The name gets the first 8
digits of the SHA-256 of the file, as in OpenMMLab.
"""

import argparse
from hashlib import sha256
from pathlib import Path

import mmnorm  # noqa: F401  lets torch load the checkpoints of mmengine
from mmnorm.checkpoints.files import read_checkpoint, to_bytes, write_bytes
from mmnorm.engine.runner.launch import fail

META = ('dataset_meta', 'cfg', 'CLASSES', 'PALETTE', 'converted')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('in_file', metavar='IN', help='checkpoint to read')
    parser.add_argument(
        'out_file', metavar='OUT', help='checkpoint to write, without digits'
    )
    return parser.parse_args()


def public_part(checkpoint: dict) -> dict:
    """Return the part of a checkpoint that users of mmdet or mmseg need.

    If training kept a moving average of the weights, mmengine saved the
    average in ``state_dict`` and the weights in ``ema_state_dict``. The
    ``state_dict`` therefore holds what was evaluated.
    """
    meta = checkpoint.get('meta', {})
    return dict(
        meta={key: meta[key] for key in META if key in meta},
        state_dict=checkpoint['state_dict'],
    )


def main() -> None:
    args = parse_args()
    try:
        checkpoint = read_checkpoint(args.in_file)
    except ValueError as error:
        fail(str(error))
    if not isinstance(checkpoint.get('state_dict'), dict):
        fail(f'checkpoint {args.in_file!r} holds no state_dict')
    kept = public_part(checkpoint)
    content = to_bytes(kept)
    digits = sha256(content).hexdigest()[:8]
    out = Path(f'{args.out_file.removesuffix(".pth")}-{digits}.pth')
    try:
        write_bytes(content, out)
    except ValueError as error:
        fail(str(error))
    dropped = [key for key in checkpoint if key not in kept]
    dropped += [
        f'meta.{key}'
        for key in checkpoint.get('meta', {})
        if key not in kept['meta']
    ]
    print(f'dropped: {", ".join(dropped) or "nothing"}')
    if 'ema_state_dict' in checkpoint:
        print('state_dict holds the moving average of the weights')
    print(f'wrote {out}')


if __name__ == '__main__':
    main()
