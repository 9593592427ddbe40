# Copyright (c) mmnorm contributors. All rights reserved.
"""What a config has to say to put a norm into the model of another.

``Source`` is Python source that is not laid out yet: an expression, keywords
of a ``dict()`` call, members of a list, or the keywords that change in each
member of a list of the base and the name of that list.
"""

import inspect
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import TypeAlias

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmnorm import layers

Source: TypeAlias = 'str | dict[str, Source] | list[Source] | tuple'
Statement: TypeAlias = tuple[str, str, Source]  # comment, name, value

NORMS = ('BCN', 'GN', 'SN', 'SyncBN')
STEPS = ('begin', 'end', 'milestones', 'step_size', 'T_max')
WHY_BACKBONE = 'Backbone only: in published experience WS hurt DeepLab heads.'


def apply_norm(
    cfg: Config,
    name: str,
    norm: str,
    ws: bool = False,
    batch_size: int | None = None,
    gpus: int | None = None,
) -> tuple[list[Statement], list[str]]:
    """Statements of a config that inherits ``cfg``, called ``name``.

    With them comes what they change and what they leave, a line each.

    Raises:
        ValueError: If no part of the model takes a norm.
    """
    scope = cfg.get('default_scope')
    parts, plans, report = dict(find_parts(cfg.model)), {}, []
    for path, part in parts.items():
        with_ws = ws and (scope != 'mmseg' or path == 'backbone')
        members = [part] if isinstance(part, dict) else part
        with DefaultScope.overwrite_default_scope(scope):
            each = [_plan(member, norm, with_ws) for member in members]
        plan, said = each[0]
        if any(other != each[0] for other in each):
            plan, said = {}, 'its members differ, left as they are'
        report.append(f'{path}: {said}')
        if plan:
            plans[path] = plan
    if not plans:
        raise ValueError('no part of the model takes a norm_cfg')

    statements = _variables(cfg, parts, plans, norm)
    model: dict[str, Source] = {}
    for path, plan in plans.items():
        *parents, key = path.split('.')
        node = model
        for parent in parents:
            node = node.setdefault(parent, {})
        is_list = not isinstance(parts[path], dict)
        node[key] = (plan, f'_base_.model.{path}') if is_list else plan
    statements.append(('', 'model', model))

    optim_wrapper = _no_decay(cfg, norm)
    if batch_size is not None or gpus is not None:
        more, lr, said = _schedule(cfg, name, batch_size, gpus)
        statements += more
        if lr is not None:
            optim_wrapper = {'optimizer': {'lr': lr}, **optim_wrapper}
        report.append(f'schedule: {said}')
    if optim_wrapper:
        statements.append(('', 'optim_wrapper', optim_wrapper))
    said = _weights(cfg, norm, ws) if 'backbone' in plans else 'unchanged'
    report.append(f'weights: {said}')
    return statements, report


def find_parts(cfg: dict, prefix: str = '') -> Iterator[tuple[str, dict]]:
    """Backbone, neck and heads of a model, or lists of them, by their path."""
    for key, value in cfg.items():
        if key not in ('backbone', 'neck') and not key.endswith('_head'):
            continue
        path = prefix + key
        if isinstance(value, dict):
            inner = list(find_parts(value, f'{path}.'))
            yield from inner or [(path, value)]
        elif isinstance(value, (list, tuple)):
            yield path, value


def argument(cls: type, name: str) -> inspect.Parameter | None:
    """An argument of a class, or of the base its keywords are passed to."""
    for base in cls.__mro__:
        if '__init__' in vars(base):
            taken = inspect.signature(base.__init__).parameters
            if name in taken:
                return taken[name]
            if all(p.kind != p.VAR_KEYWORD for p in taken.values()):
                return None
    return None


def _plan(part: dict, norm: str, ws: bool) -> tuple[dict[str, Source], str]:
    # What to set in a part, and how to say it.
    kind = part['type']
    with MODELS.switch_scope_and_registry(None) as registry:
        cls = registry.get(kind)
    if cls is None:
        raise ValueError(f'model type {kind!r} is in no registry')
    norm_cfg, norm_eval = argument(cls, 'norm_cfg'), argument(cls, 'norm_eval')
    if norm_cfg is None:
        return {}, f'{kind} takes no norm_cfg, left as it is'
    old = (part.get('norm_cfg', norm_cfg.default) or {}).get('type')
    if old == 'LN':
        return {}, f'{kind} normalizes tokens with LN, left as it is'
    plan, said = {}, [f'{old or "no norm"} -> mmnorm.{norm}']
    if kind == 'Shared2FCBBoxHead':  # it has no convolution to normalize
        kind = 'Shared4Conv1FCBBoxHead'
        plan = {'type': repr(kind), 'conv_out_channels': '256'}
        said.insert(0, f'Shared2FCBBoxHead -> {kind}')
    plan['norm_cfg'] = 'norm_cfg'
    frozen = norm_eval and part.get('norm_eval', norm_eval.default)
    if frozen and norm != 'GN':
        plan['norm_eval'] = 'False'
        said.append('norm_eval False')
    if ws and argument(cls, 'conv_cfg') is not None:
        plan['conv_cfg'] = 'conv_cfg'
        said.append('mmnorm.ConvWS')
    return plan, ', '.join(said)


def _variables(
    cfg: Config, parts: dict, plans: dict, norm: str
) -> list[Statement]:
    # norm_cfg and conv_cfg; marks in the plans where the base has its own.
    values = {'norm_cfg': {'type': repr(f'mmnorm.{norm}')}}
    if 'num_groups' in inspect.signature(getattr(layers, norm)).parameters:
        values['norm_cfg']['num_groups'] = "'auto'"  # 48 channels in DeepLab
    values['conv_cfg'] = {'type': "'mmnorm.ConvWS'"}
    statements = []
    for name, value in values.items():
        users = [path for path in plans if name in plans[path]]
        # mmengine hands _delete_ to the layer where the base has no such
        # key, as in the members of a list.
        stale = [path for path in users if name in parts[path]]
        if stale and stale == users and name in cfg:
            value = {'_delete_': 'True', **value}
        else:
            for path in stale:
                plans[path][name] = f'dict(_delete_=True, **{name})'
        only = name == 'conv_cfg' and cfg.get('default_scope') == 'mmseg'
        if users:
            statements.append((WHY_BACKBONE if only else '', name, value))
    return statements


def _no_decay(cfg: Config, norm: str) -> dict[str, Source]:
    optim_wrapper = cfg.get('optim_wrapper') or {}
    # mmengine takes a share of no weight decay for an error.
    if optim_wrapper.get('optimizer', {}).get('weight_decay') is None:
        return {}
    new: dict[str, Source] = {}
    if 'norm_decay_mult' not in (optim_wrapper.get('paramwise_cfg') or {}):
        new['norm_decay_mult'] = '0.0'
    if norm == 'SN':  # its mixing logits, whatever the base says of norms
        none = {'decay_mult': '0.0'}
        new['custom_keys'] = {'mean_weight': none, 'var_weight': none}
    return {'paramwise_cfg': new} if new else {}


def _schedule(
    cfg: Config, name: str, batch_size: int | None, gpus: int | None
) -> tuple[list[Statement], str | None, str]:
    # Statements, the learning rate, and how to say it.
    old = cfg.get('auto_scale_lr', {}).get('base_batch_size')
    if old is None and (named := re.search(r'(\d+)xb(\d+)', name)):
        old = int(named[1]) * int(named[2])
    was = cfg.get('train_dataloader', {}).get('batch_size')
    lr = cfg.get('optim_wrapper', {}).get('optimizer', {}).get('lr')
    loader = ('train_dataloader', {'batch_size': str(batch_size or was)})
    if None in (old, was, lr):
        more = [('', *loader)] if batch_size else []
        return more, None, 'the base has no batch size to scale lr from'
    size, gpus = batch_size or was, gpus or max(old // was, 1)
    new, s = gpus * size, ('', 's')
    scaled = f'{lr * new / old:.6g}'
    said = (
        f'{gpus} GPU{s[gpus > 1]} x {size} image{s[size > 1]} = {new}; '
        f'lr {lr:.6g} * {new} / {old} = {scaled}'
    )
    more = [(f'{said}.', *loader)]
    if 'auto_scale_lr' in cfg:
        more.append(('', 'auto_scale_lr', {'base_batch_size': str(new)}))
    steps = (cfg.get('train_cfg') or {}).get('max_iters')
    if steps is not None and new != old:
        sum_ = f'{steps} * {old} / {new} = {round(steps * old / new)}'
        said += f'; {sum_} steps'
        more += _stretch(cfg, Fraction(old, new), f'Steps: {sum_}.')
    return more, scaled, said


def _stretch(cfg: Config, times: Fraction, comment: str) -> list[Statement]:
    # The schedule over other steps, for as many images.
    def stretched(key: str, value: object) -> object:
        if key == 'eta_min':  # a learning rate
            return float(f'{value / float(times):.6g}')
        if isinstance(value, (list, tuple)):
            return [stretched(key, member) for member in value]
        return round(value * times) if key in STEPS else value

    def steps(node: dict, *keys: str) -> dict[str, Source]:
        return {k: str(round(node[k] * times)) for k in keys if k in node}

    loop = steps(cfg.train_cfg, 'max_iters', 'val_interval')
    schedulers = [
        {k: repr(stretched(k, v)) for k, v in scheduler.items()}
        for scheduler in cfg.get('param_scheduler') or []
    ]
    more = [(comment, 'train_cfg', loop), ('', 'param_scheduler', schedulers)]
    hook = cfg.get('default_hooks', {}).get('checkpoint') or {}
    if not hook.get('by_epoch', True):
        hooks = {'checkpoint': steps(hook, 'interval')}
        more.append(('', 'default_hooks', hooks))
    return more


def _weights(cfg: Config, norm: str, ws: bool) -> str:
    backbone = cfg.model.backbone
    key, name = 'model.pretrained', cfg.model.get('pretrained')
    if name is None and isinstance(backbone.get('init_cfg'), dict):
        key = 'model.backbone.init_cfg'
        name = backbone.init_cfg.get('checkpoint')
    if name is None:
        return 'the base names none'
    old = (backbone.get('norm_cfg') or {}).get('type', 'BN')
    fits = old.endswith(norm) or (norm != 'GN' and old in ('BN', 'SyncBN'))
    wanted = [] if fits else [norm]
    if ws and not backbone.get('conv_cfg'):
        wanted.append('WS')
    if not wanted:
        return f'{name} load into mmnorm.{norm} as they are'
    wanted = ' and '.join(wanted)
    return f'{name} are not for {wanted}: name some trained so in {key}'
