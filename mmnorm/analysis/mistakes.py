# Copyright (c) mmnorm contributors. All rights reserved.
"""Known mistakes with norms, each with the config key that mends it."""

from collections.abc import Iterator
from typing import NamedTuple

from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmnorm.checkpoints.convert.weight_standardization import (
    looks_standardized,
)
from mmnorm.config.model_parts import argument, find_parts
from mmnorm.config.registered import registered
from mmnorm.layers import BCN, ConvWS

from .norm_states import NormState, norm_states, running
from .subject import Subject, is_in, part_of

# Files of these places were trained with BN, unless their name says more.
BN_WEIGHTS = ('torchvision://', 'open-mmlab://')
ONE_IMAGE = {'type': 'mmnorm.BCN'}


class Mistake(NamedTuple):
    """Norms that do what nobody wants.

    Attributes:
        sentence: What is wrong.
        key: The config key to change, with a value where one is known.
        norms: The names of the norms.
    """

    sentence: str
    key: str
    norms: list[str]


def find_mistakes(
    model: nn.Module,
    cfg: Config,
    weights: dict[str, Tensor] | None = None,
    calls: dict[str, int] | None = None,
) -> list[Mistake]:
    """Return the known mistakes of a model with its config.

    Args:
        model: The model of the config. It is put into training mode, as the
            runner does.
        cfg: The config.
        weights: The state dict of the checkpoint that is loaded, if any.
        calls: How often each norm runs in one forward, if that is known.
    """
    model.train()
    states = {state.name: state for state in norm_states(model)}
    subject = Subject(model, cfg, states, weights, calls or {})
    return [mistake for check in CHECKS for mistake in check(subject)]


def _in_evaluation(s: Subject) -> Iterator[Mistake]:
    # Statistics of BN that stay are the habit of mmdet, not a mistake.
    def holds(norm: NormState) -> bool:
        return (
            running(s.model.get_submodule(norm.name)) is not None
            and not norm.moves
            and bool(norm.trained)
            and (norm.synchronized or not norm.type.startswith('torch '))
        )

    for part, found, what in s.by_part(holds):
        yield Mistake(
            f'{what} stay in evaluation during training, and their '
            'statistics never move',
            f'model.{part}.norm_eval=False',
            found,
        )


def _part_without_norm(s: Subject) -> Iterator[Mistake]:
    trained = [
        state
        for state in s.states.values()
        if part_of(state.name, s.cfg) == 'backbone' and state.trained
    ]
    # A backbone of BN with constant statistics needs no norm elsewhere.
    if not any(t.moves or t.statistics == 'image' for t in trained):
        return
    for part, node in find_parts(s.cfg.model):
        cfg = s.part_cfg(part)
        cls = registered(MODELS, cfg['type'], s.cfg.get('default_scope'))
        has_norm = any(is_in(name, part) for name in s.states)
        if cls is None or has_norm or argument(cls, 'norm_cfg') is None:
            continue
        key = f'model.{part}.norm_cfg'
        if cls.__name__ == 'Shared2FCBBoxHead':
            key = f"model.{part}.type='Shared4Conv1FCBBoxHead' and {key}"
        elif not isinstance(node, dict):
            key = f'norm_cfg of each member of model.{part}'
        yield Mistake(
            f'the backbone trains {trained[0].type}, and {part} has no norm',
            key,
            [],
        )


def _other_weights(s: Subject) -> Iterator[Mistake]:
    # mmdet names a layer after its norm: bn1 of the file is gn1 of the model.
    unused = (s.weights or {}).keys() - s.model.state_dict().keys()
    of_bn = {
        part_of(key, s.cfg) for key in unused if key.endswith('.running_mean')
    }

    def holds(norm: NormState) -> bool:
        if running(s.model.get_submodule(norm.name)) is not None:
            return False
        part = part_of(norm.name, s.cfg)
        if s.weights is not None:
            return part in of_bn
        return _is_of_bn(s.start_of(part))

    for part, found, what in s.by_part(holds):
        yield Mistake(
            f'{what} start from weights that were trained with BN',
            f'model.{part}.init_cfg.checkpoint',
            found,
        )


def _is_of_bn(name: str | None) -> bool:
    return name is not None and (
        name.startswith(BN_WEIGHTS) and 'gn' not in name and '_sn' not in name
    )


def _plain_filters(s: Subject) -> Iterator[Mistake]:
    convs = {
        name: module
        for name, module in s.model.named_modules()
        if isinstance(module, ConvWS)
    }
    if s.weights is None:
        # A training makes up for what standardization takes from weights of
        # BN, where the weights train: docs/evidence.md, a pretrained backbone.
        found = [
            name
            for name, conv in convs.items()
            if not conv.weight.requires_grad
            and _is_of_bn(start := s.start_of(part_of(name, s.cfg)))
            and 'ws' not in start
        ]
        what, keys = 'frozen weights', 'model.{0}.frozen_stages=-1, or '
    else:
        names = {name: f'{name}.weight' for name in convs}
        found = [name for name, key in names.items() if key in s.weights]
        if looks_standardized(s.weights[names[name]] for name in found):
            found = []
        what, keys = 'weights', ''
    if found:
        keys += 'model.{0}.conv_cfg, or model.{0}.init_cfg.checkpoint'
        part = part_of(found[0], s.cfg)
        yield Mistake(
            f'{len(found)} convolutions of {part} standardize {what} that '
            'were trained without weight standardization',
            keys.format(part),
            found,
        )


def _dead_branch(s: Subject) -> Iterator[Mistake]:
    def is_zero(parameter: Tensor | None) -> bool:
        known = parameter is not None and not parameter.is_meta
        return known and not parameter.any()

    def holds(state: NormState) -> bool:
        norm = s.model.get_submodule(state.name)
        if not is_zero(norm.weight):
            return False
        # A product of two zeros has no gradient.
        twice = isinstance(norm, BCN) and is_zero(norm.bn.weight)
        return twice or not state.trained

    for part, found, what in s.by_part(holds):
        yield Mistake(
            f'{what} give 0 for every input, and no gradient changes that',
            f'model.{part}.zero_init_residual=False',
            found,
        )


def _never_loaded(s: Subject) -> Iterator[Mistake]:
    def holds(norm: NormState) -> bool:
        is_frozen = norm.trained is False and not norm.moves
        normalizes = norm.statistics == 'running'
        return is_frozen and normalizes and not s.is_loaded(norm.name)

    for part, found, what in s.by_part(holds):
        yield Mistake(
            f'{what} are frozen, and no weights are loaded: they normalize '
            'nothing',
            f'model.{part}.frozen_stages=-1 and norm_eval=False, or '
            f'model.{part}.init_cfg',
            found,
        )


def _one_image(s: Subject) -> Iterator[Mistake]:
    loader = s.cfg.get('train_dataloader') or {}
    if loader.get('batch_size') != 1:
        return

    def holds(norm: NormState) -> bool:
        return norm.statistics == 'batch' and not norm.synchronized

    for part, found, what in s.by_part(holds):
        yield Mistake(
            f'{what} take the statistics of a batch from one image',
            f'model.{part}.norm_cfg={ONE_IMAGE}',
            found,
        )


def _shared_over_levels(s: Subject) -> Iterator[Mistake]:
    def holds(norm: NormState) -> bool:
        return norm.moves and s.calls.get(norm.name, 1) > 1

    for part, found, what in s.by_part(holds):
        times = max(s.calls[name] for name in found)
        yield Mistake(
            f'{what} share running statistics over {times} levels of the '
            'pyramid, whose statistics differ',
            f"model.{part}.norm_cfg={{'type': 'mmnorm.GN'}}",
            found,
        )


def _frozen_and_moving(s: Subject) -> Iterator[Mistake]:
    # norm_eval of mmdet knows the batch norms of torch and those inside BCN.
    def known(name: str) -> bool:
        modules = s.model.get_submodule(name).modules()
        return any(isinstance(module, _BatchNorm) for module in modules)

    def holds(norm: NormState) -> bool:
        return norm.trained is False and norm.moves

    for part, found, what in s.by_part(holds):
        key = 'norm_eval=True'
        if not all(map(known, found)):
            key = 'norm_cfg.requires_grad=True'
        yield Mistake(
            f'{what} are frozen, but their statistics still move',
            f'model.{part}.{key}',
            found,
        )


CHECKS = (
    _in_evaluation,
    _part_without_norm,
    _other_weights,
    _plain_filters,
    _dead_branch,
    _never_loaded,
    _one_image,
    _shared_over_levels,
    _frozen_and_moving,
)
