# Copyright (c) mmnorm contributors. All rights reserved.
"""Evaluate a checkpoint of mmdet or mmseg with the metric of its config."""

import argparse

from mmengine.evaluator import DumpResults

import mmnorm  # noqa: F401  registers the layers
from mmnorm.check import checkpoint_error, data_error
from mmnorm.launch import (
    add_common_arguments,
    build_runner,
    fail,
    parse,
    read_config,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path of the checkpoint')
    add_common_arguments(parser)
    parser.add_argument('--out', help='.pkl file to dump predictions to')
    parser.add_argument(
        '--show-dir',
        help='folder for painted images; mmdet puts it in the work dir',
    )
    return parse(parser)


def main() -> None:
    args = parse_args()
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        fail(f'--out {args.out!r} has to end in .pkl')
    cfg = read_config(args)
    cfg.load_from = args.checkpoint
    if args.show_dir is not None:
        hook = cfg.default_hooks.get('visualization')
        if hook is None:
            fail(f'{args.config} has no default_hooks.visualization to draw')
        hook.draw = True
        if hook.type == 'SegVisualizationHook':
            cfg.visualizer.save_dir = args.show_dir
        else:
            hook.test_out_dir = args.show_dir

    error = data_error(cfg, ('test',)) or checkpoint_error(args.checkpoint)
    if error is not None:
        fail(error)

    runner = build_runner(cfg)
    if args.out is not None:
        runner.test_evaluator.metrics.append(
            DumpResults(out_file_path=args.out)
        )
    runner.test()


if __name__ == '__main__':
    main()
