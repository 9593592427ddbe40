# Copyright (c) mmnorm contributors. All rights reserved.
"""Decide what a config has to say to put a norm into the model of another."""

import inspect
from collections.abc import Collection

from mmengine.config import Config
from mmengine.registry import MODELS

from mmnorm import layers

from .errors import ConfigError
from .model_parts import argument, default_norm, find_parts, is_layer_norm
from .registered import registered
from .schedule import read_batch, scale_schedule
from .second_activations import OWN
from .write_config import Comprehension, Source, Statement

# Norms whose statistics in evaluation are those of training.
RUNNING = (
    'BCN',
    'BKN',
    'BN',
    'BRN',
    'EvoNormB0',
    'MABN',
    'MetaNorm',
    'SN',
    'SSN',
    'SyncBN',
)
OF_ONE_IMAGE = ('EvoNormS0', 'FRN', 'GN', 'GW', 'IN', 'LN')
NORMS = tuple(sorted((*RUNNING, *OF_ONE_IMAGE)))
# Weights of BN fit these norms.
LIKE_BN = ('BCN', 'BKN', 'BN', 'BRN', 'SN', 'SSN', 'SyncBN')
# Hooks that a norm needs.
HOOKS = {'BKN': 'KalmanHook', 'SSN': 'SparseSwitchHook'}
OVER_LEVELS = "type='mmnorm.GN', num_groups='auto'"
WHY_BACKBONE = 'Only the backbone: in published results WS hurt DeepLab heads.'


def apply_norm(
    cfg: Config,
    name: str,
    norm: str,
    ws: bool = False,
    batch_size: int | None = None,
    gpus: int | None = None,
    over_levels: Collection[str] = (),
) -> tuple[list[Statement], list[str]]:
    """Return the statements of a config that inherits another, and a report.

    The report has a line for each part of the model, for the schedule, and
    for the weights.

    Args:
        cfg: The config to inherit.
        name: The name of the config, which may hold the number of images
            per step, as in ``4xb2``.
        norm: A name in ``NORMS``.
        ws: Whether convolutions standardize their weights too. Those of MABN
            center their weights in any case.
        batch_size: Images per GPU, or None for those of the config.
        gpus: Number of GPUs, or None for those of the config.
        over_levels: Parts of the model whose norms serve all levels of a
            pyramid. They get GN, because the levels differ in statistics.

    Raises:
        ConfigError: If no part of the model takes a norm.
    """
    scope = cfg.get('default_scope')
    conv = 'ConvWS' if ws else 'ConvWC' if norm == 'MABN' else None
    parts, changes, report = dict(find_parts(cfg.model)), {}, []
    for path, part in parts.items():
        everywhere = norm == 'MABN' or scope != 'mmseg'
        part_conv = conv if everywhere or path == 'backbone' else None
        members = [part] if isinstance(part, dict) else part
        own = 'GN' if path in over_levels else norm
        first, *rest = (_change(m, own, part_conv, scope) for m in members)
        change, note = first
        if any(other != first for other in rest):
            change, note = {}, 'unchanged, because its members differ'
        if change and own != norm:
            delete = '_delete_=True, ' if 'norm_cfg' in part else ''
            change['norm_cfg'] = f'dict({delete}{OVER_LEVELS})'
            note += ', because it serves all levels of the pyramid'
        report.append(f'{path}: {note}')
        if change:
            changes[path] = change
    if not changes:
        raise ConfigError('no part of the model takes a norm_cfg')

    batch = read_batch(cfg, name, batch_size, gpus)
    statements = _variables(cfg, parts, changes, norm, conv)
    model: dict[str, Source] = {}
    for path, change in changes.items():
        *parents, key = path.split('.')
        node = model
        for parent in parents:
            node = node.setdefault(parent, {})
        if not isinstance(parts[path], dict):
            change = Comprehension(change, f'_base_.model.{path}')
        node[key] = change
    statements.append(('', 'model', model))

    optim_wrapper = _no_decay(cfg, norm)
    if batch_size is not None or gpus is not None:
        schedule = scale_schedule(cfg, batch)
        statements += schedule.statements
        if schedule.lr is not None:
            optimizer = {'lr': schedule.lr}
            optim_wrapper = {'optimizer': optimizer, **optim_wrapper}
        report.append(f'schedule: {schedule.note}')
    if optim_wrapper:
        statements.append(('', 'optim_wrapper', optim_wrapper))
    if norm in HOOKS:
        hook = f'mmnorm.{HOOKS[norm]}'
        hooks: list[Source] = [{'type': repr(hook)}]
        if cfg.get('custom_hooks'):
            hooks.insert(0, '*_base_.custom_hooks')
        statements.append(('', 'custom_hooks', hooks))
        report.append(f'hooks: {hook}')
    note = _weights(cfg, norm, ws) if 'backbone' in changes else 'unchanged'
    report.append(f'weights: {note}')
    return statements, report


def _change(
    part: dict, norm: str, conv: str | None, scope: str | None
) -> tuple[dict[str, Source], str]:
    # Returns the keywords to set in a part of the model, and a note.
    type_ = part.get('type')
    if not isinstance(type_, str):
        raise ConfigError(
            f'a part of the model has the type {type_!r}, no name'
        )
    cls = registered(MODELS, type_, scope)
    if cls is None:
        raise ConfigError(f'model type {type_!r} is in no registry')
    norm_eval = argument(cls, 'norm_eval')
    if argument(cls, 'norm_cfg') is None:
        return {}, f'unchanged, because {type_} takes no norm_cfg'
    old = default_norm(part, scope)
    if old and is_layer_norm(old, part, scope):
        return {}, f'unchanged, because {type_} normalizes tokens with {old}'
    change, notes = {}, [f'{old or "no norm"} -> mmnorm.{norm}']
    if type_ == 'Shared2FCBBoxHead':  # without convolutions to normalize
        type_ = 'Shared4Conv1FCBBoxHead'
        change = {'type': repr(type_), 'conv_out_channels': '256'}
        notes.insert(0, f'Shared2FCBBoxHead -> {type_}')
    change['norm_cfg'] = 'norm_cfg'
    frozen = norm_eval and part.get('norm_eval', norm_eval.default)
    if frozen and norm in RUNNING:
        change['norm_eval'] = 'False'
        notes.append('norm_eval False')
    if (
        issubclass(getattr(layers, norm), OWN)
        and argument(cls, 'act_cfg') is not None
    ):
        change['act_cfg'] = 'None'
        notes.append('act_cfg None')
    if conv is not None and argument(cls, 'conv_cfg') is not None:
        change['conv_cfg'] = 'conv_cfg'
        notes.append(f'mmnorm.{conv}')
    return change, ', '.join(notes)


def _variables(
    cfg: Config, parts: dict, changes: dict, norm: str, conv: str | None
) -> list[Statement]:
    # Returns the statements for norm_cfg and conv_cfg. If a part of the base
    # has such a key, its keywords in ``changes`` replace the value.
    values = {'norm_cfg': {'type': repr(f'mmnorm.{norm}')}}
    if 'num_groups' in inspect.signature(getattr(layers, norm)).parameters:
        values['norm_cfg']['num_groups'] = "'auto'"  # 48 channels in DeepLab
    values['conv_cfg'] = {'type': repr(f'mmnorm.{conv}')}
    statements = []
    for name, value in values.items():
        users = [p for p in changes if changes[p].get(name) == name]
        # Where the base has no such key, as in the members of a list,
        # mmengine would hand _delete_ to the layer.
        replaced = [path for path in users if name in parts[path]]
        if replaced and replaced == users and name in cfg:
            value = {'_delete_': 'True', **value}
        else:
            for path in replaced:
                changes[path][name] = f'dict(_delete_=True, **{name})'
        only = name == 'conv_cfg' and users == ['backbone']
        if users:
            statements.append((WHY_BACKBONE if only else '', name, value))
    return statements


def _no_decay(cfg: Config, norm: str) -> dict[str, Source]:
    optim_wrapper = cfg.get('optim_wrapper') or {}
    # mmengine raises an error for a factor where there is no weight decay.
    if optim_wrapper.get('optimizer', {}).get('weight_decay') is None:
        return {}
    paramwise_cfg: dict[str, Source] = {}
    if 'norm_decay_mult' not in (optim_wrapper.get('paramwise_cfg') or {}):
        paramwise_cfg['norm_decay_mult'] = '0.0'
    if norm in ('SN', 'SSN'):  # the base cannot know the mixing logits
        none = {'decay_mult': '0.0'}
        if norm == 'SSN':
            none = {'lr_mult': '0.1', **none}  # as the authors
        logits = {'mean_weight': none, 'var_weight': none}
        paramwise_cfg['custom_keys'] = logits
    return {'paramwise_cfg': paramwise_cfg} if paramwise_cfg else {}


def _weights(cfg: Config, norm: str, ws: bool) -> str:
    backbone = cfg.model.backbone
    key, name = 'model.pretrained', cfg.model.get('pretrained')
    if name is None and isinstance(backbone.get('init_cfg'), dict):
        key = 'model.backbone.init_cfg'
        name = backbone.init_cfg.get('checkpoint')
    if name is None:
        return 'the base names no weights'
    old = default_norm(backbone, cfg.get('default_scope')) or 'BN'
    like_bn = norm in LIKE_BN and old in ('BN', 'SyncBN')
    fits = old.split('.')[-1] == norm or like_bn
    lacking = [] if fits else [norm]
    if ws and not backbone.get('conv_cfg'):
        lacking.append('WS')
    if not lacking:
        return f'{name} load into mmnorm.{norm} as they are'
    train = 'train every layer, with model.backbone.frozen_stages=-1, or '
    first = train if lacking == ['WS'] else ''
    lacking = ' and '.join(lacking)
    return (
        f'{name} were trained without {lacking}: {first}name weights trained '
        f'with {lacking} in {key}'
    )
