# Copyright (c) mmnorm contributors. All rights reserved.
"""Evaluate a checkpoint with the metric of its config."""

import argparse
import copy
import os
from collections import Counter

# Threads of torch that wait for each other must not spin for long: a busy
# machine would starve the thread that they wait for. libgomp reads this once.
os.environ.setdefault('GOMP_SPINCOUNT', '1000')

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import METRICS
from mmengine.runner import Runner

import mmnorm  # noqa: F401  registers the layers
from mmnorm.checkpoints.checks import checkpoint_error
from mmnorm.config.check_run import run_error
from mmnorm.config.errors import ConfigError, config_errors
from mmnorm.deploy.chosen_norm import deploy_chosen
from mmnorm.deploy.fold import fold
from mmnorm.engine.runner.launch import (
    add_common_arguments,
    build_runner,
    fail,
    leave_group,
    parse,
    read_config,
)
from mmnorm.precise import mix_image_statistics

KEYS = ('model', 'test_dataloader', 'test_cfg', 'test_evaluator')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config', help='a path, or mmdet::..., mmseg::... or mmpretrain::...'
    )
    parser.add_argument('checkpoint', help='path of the checkpoint')
    add_common_arguments(parser)
    parser.add_argument('--out', help='.pkl file to dump predictions to')
    parser.add_argument(
        '--show',
        action='store_true',
        help='show images with the predictions in a window',
    )
    parser.add_argument(
        '--show-dir',
        help='folder for images with the predictions; mmdet puts the folder '
        'in the work dir',
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds an image is shown'
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test with the tta_model and tta_pipeline of the config',
    )
    parser.add_argument(
        '--fold',
        action='store_true',
        help='fold batch statistics and standardized weights into the '
        'convolutions first',
    )
    parser.add_argument(
        '--image-share',
        type=float,
        help='share from 0 to 1 of each image in the statistics that '
        'normalize it, for batch norms',
    )
    return parse(parser)


class FoldHook(Hook):
    """Test a folded copy of the model, with the weights as they are then."""

    # Hooks of higher priority replace the weights by averages for the test.
    priority = 'LOWEST'

    def before_test_epoch(self, runner: Runner) -> None:
        """Replace the model of the runner by a folded copy."""
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        # After the test, hooks put weights back into the model itself.
        runner.model = copy.deepcopy(model).eval()
        # Every process folds for the same image.
        loader = runner.test_dataloader
        sample, inner = loader.dataset[0], runner.model
        if isinstance(inner, BaseTTAModel):
            inner = inner.module
            sample = {key: versions[0] for key, versions in sample.items()}
        data = inner.data_preprocessor(loader.collate_fn([sample]))
        if chosen := Counter(deploy_chosen(inner).values()):
            counts = ', '.join(f'{n} {t}' for t, n in sorted(chosen.items()))
            runner.logger.info(f'the layers SSN have become {counts}')
        # Heads of mmseg such as that of Mask2Former only take part in the
        # prediction; a detector may predict nothing, and skip its masks.
        mode = 'predict' if hasattr(inner, 'decode_head') else 'tensor'
        folds = fold(inner, **data, mode=mode)
        reasons = Counter(folds.kept.values()).items()
        kept = '; '.join(
            f'{count} since {reason}' for reason, count in reasons
        )
        runner.logger.info(
            f'folded {len(folds.folded)}, kept {len(folds.kept)}'
            + (f' ({kept})' if kept else '')
        )


def draw_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """Let the visualization hook of the config draw the predictions."""
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None or cfg.get('visualizer') is None:
        fail(
            f'--show and --show-dir need default_hooks.visualization and '
            f'visualizer in {args.config!r}'
        )
    hook.show = args.show
    hook.wait_time = args.wait_time
    if hook.type == 'VisualizationHook':  # that of mmpretrain
        hook.enable = True
        hook.out_dir = args.show_dir
        return
    hook.draw = True
    if args.show_dir is None:
        return
    if hook.type == 'SegVisualizationHook':
        cfg.visualizer.save_dir = args.show_dir
    else:
        hook.test_out_dir = args.show_dir


def augment(cfg: Config, args: argparse.Namespace) -> None:
    """Test several versions of each image, as the config says."""
    for key in ('tta_model', 'tta_pipeline'):
        if key not in cfg:
            fail(f'--tta needs {key} in {args.config!r}')
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline


def main() -> None:
    args = parse_args()
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        fail(f'--out {args.out!r} has to end in .pkl')
    if args.fold and args.image_share is not None:
        fail('--fold needs constant statistics: leave out --image-share')
    cfg = read_config(args)
    cfg.load_from = args.checkpoint
    # A config that a resumed training has written says resume=True.
    cfg.resume = False
    error = run_error(cfg, KEYS, ('test',))
    if error := error or checkpoint_error(args.checkpoint):
        fail(error)
    if args.show or args.show_dir is not None:
        draw_predictions(cfg, args)
    if args.tta:
        augment(cfg, args)
    if args.fold:
        # A norm that computes its activation cannot be folded.
        cfg.custom_hooks = [
            hook
            for hook in cfg.get('custom_hooks') or []
            if hook['type'] != 'mmnorm.FuseNormActHook'
        ]
    try:
        with config_errors():
            test(cfg, args)
    except ConfigError as error:
        fail(str(error))
    leave_group()


def test(cfg: Config, args: argparse.Namespace) -> None:
    runner = build_runner(cfg)
    if args.out is not None:
        # The class of mmdet packs masks, where the general class would write
        # every pixel.
        in_mmdet = cfg.get('default_scope') == 'mmdet'
        name = 'mmdet.DumpDetResults' if in_mmdet else 'DumpResults'
        dump = METRICS.build(dict(type=name, out_file_path=args.out))
        runner.test_evaluator.metrics.append(dump)
    if args.image_share is not None:
        try:
            count = mix_image_statistics(runner.model, args.image_share)
        except ValueError as error:
            fail(f'--image-share {args.image_share}: {error}')
        runner.logger.info(f'{count} norms mix statistics of the image')
    if args.fold:
        runner.register_hook(FoldHook())
    runner.test()


if __name__ == '__main__':
    main()
