# Copyright (c) mmnorm contributors. All rights reserved.
"""Fold what is constant in evaluation into the convolutions."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from mmnorm.functional import normalize
from mmnorm.layers import BCN, GN

from .producers import Feeds, watch

# By name, for mmcv need not be there. Of no other class is it known here what
# its forward does; a subclass may have another.
WS = {
    'mmnorm.layers.weight_standardization.ConvWS',
    'mmcv.cnn.bricks.conv_ws.ConvWS2d',
    'mmcv.cnn.bricks.conv_ws.ConvAWS2d',
}
CONVS = WS | {
    'torch.nn.modules.conv.Conv1d',
    'torch.nn.modules.conv.Conv2d',
    'torch.nn.modules.conv.Conv3d',
    'mmcv.cnn.bricks.wrappers.Conv2d',
    'mmcv.cnn.bricks.wrappers.Conv3d',
    'mmcv.ops.modulated_deform_conv.ModulatedDeformConv2d',
    'mmcv.ops.modulated_deform_conv.ModulatedDeformConv2dPack',
}
BATCH_NORMS = {
    'torch.nn.modules.batchnorm.BatchNorm1d',
    'torch.nn.modules.batchnorm.BatchNorm2d',
    'torch.nn.modules.batchnorm.BatchNorm3d',
    'torch.nn.modules.batchnorm.SyncBatchNorm',
    # With running statistics, they are batch norms in evaluation.
    'torch.nn.modules.instancenorm.InstanceNorm1d',
    'torch.nn.modules.instancenorm.InstanceNorm2d',
    'torch.nn.modules.instancenorm.InstanceNorm3d',
    'mmengine.model.utils._BatchNormXd',
    'mmengine.utils.dl_utils.parrots_wrapper.SyncBatchNorm',
    'mmcv.ops.sync_bn.SyncBatchNorm',
    'mmnorm.layers.sync_batch_norm.SyncBN',
}


class Folds(NamedTuple):
    """What :func:`fold` did, and what it left, by the names of modules."""

    folded: dict[str, str]
    kept: dict[str, str]


@torch.no_grad()
def fold(model: nn.Module, *args: Any, **kwargs: Any) -> Folds:
    r"""Fold what is constant in evaluation into the convolutions, in place.

    Standardized weights become plain ones: ``ConvWS`` and mmcv's ``ConvWS``
    and ``ConvAWS`` become ``nn.Conv2d``. A batch norm with running
    statistics goes into the convolution before it,

    .. math::
        W' = \frac{\gamma}{\sqrt{V + \epsilon}} W, \qquad
        b' = \frac{\gamma}{\sqrt{V + \epsilon}} (b - M) + \beta

    and becomes ``nn.Identity``. Of :class:`BCN` its batch part does, and
    :class:`GN` remains, with a gain and an offset a channel. The outputs stay
    the same but for rounding. GN and SN stay as they are: their statistics
    are those of each image.

    What differs from ``fuse_conv_bn`` of mmcv, besides BCN: a weight is
    standardized before it is scaled, and which convolution comes before
    which norm is seen in one run of the model, not guessed from the order
    of their names. What cannot be folded is left as it is, with the reason.
    Fold before :func:`mmnorm.fuse_norm_act`, after which norms also take the
    activation.

    Args:
        model: A model in evaluation mode.
        args: What the model is called with for that run: inputs of any
            size, with which it goes all the ways it is to go later. A norm
            that is not called stays.
        kwargs: Likewise, such as ``mode='tensor'`` for models of mmdet and
            mmseg.

    Raises:
        ValueError: If a norm of the model is in training mode. Nothing is
            changed.

    Example::

        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), BCN(8, 4)).eval()
        >>> fold(model, torch.rand(1, 3, 8, 8)).folded
        {'1': 'its batch part into 0'}
        >>> model[1]
        GN(8, num_groups=4, eps=1e-05, affine=True)
    """
    names = {module: name for name, module in model.named_modules()}
    norms = {norm: names[norm] for norm in _norms(model)}
    for norm, name in norms.items():
        if any(part.training for part in norm.modules()):
            raise ValueError(
                f'norm {name!r} is in training mode, where its statistics '
                'are no constants: call model.eval() before fold'
            )
    candidates = {norm for norm in norms if _batch_part(norm) is not None}
    feeds = Feeds({}, set())
    if candidates:
        feeds = watch(model, candidates, *args, **kwargs)
    reasons = {norm: _why_not(norm, feeds, names) for norm in norms}

    folds = Folds({}, {})
    for module, name in names.items():
        if _kind(module) in WS and _why_no_weight(module) is None:
            _make_plain(module)
            folds.folded[name] = 'its standardized weight'
        elif _kind(module) in WS:
            folds.kept[name] = _why_no_weight(module)
    replaced = {}
    for norm, name in norms.items():
        if reasons[norm] is not None:
            folds.kept[name] = reasons[norm]
            continue
        (conv,) = feeds.sources[norm]
        _scale(conv, *_affine(_batch_part(norm)))
        whole = not isinstance(norm, BCN)
        replaced[norm] = nn.Identity() if whole else _channel_part(norm)
        part = '' if whole else 'its batch part '
        folds.folded[name] = f'{part}into {names[conv]}'
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            # A module can stand in several places.
            parent._modules[key] = replaced.get(child, child)
    return folds


def _norms(model: nn.Module) -> Iterator[nn.Module]:
    inner = {m.bn for m in model.modules() if isinstance(m, BCN)}
    for module in model.modules():
        is_norm = isinstance(module, (_NormBase, nn.GroupNorm, nn.LayerNorm))
        if (is_norm or _kind(module) in BATCH_NORMS) and module not in inner:
            yield module


def _kind(module: nn.Module | None) -> str:
    cls = type(module)
    return f'{cls.__module__}.{cls.__qualname__}'


def _batch_part(norm: nn.Module) -> nn.Module | None:
    """What of a norm is a batch norm."""
    if type(norm) is BCN:
        return norm.bn
    return norm if _kind(norm) in BATCH_NORMS else None


def _why_not(
    norm: nn.Module, feeds: Feeds, names: dict[nn.Module, str]
) -> str | None:
    """Why a norm cannot be folded; None if it can."""
    batch_part = _batch_part(norm)
    if batch_part is None:
        if isinstance(norm, (_BatchNorm, BCN)):
            return f'what a {type(norm).__name__} does is not known here'
        return 'its statistics are those of each image'
    if batch_part.running_mean is None:
        return 'it has no running statistics'
    sources = feeds.sources.get(norm, set())
    if not sources:
        return 'it was not called'
    if len(sources) > 1:
        return 'its inputs come from several modules'
    (conv,) = sources
    if conv is None:
        return 'its input is not the output of one module alone'
    if _kind(conv) not in CONVS:
        return f'its input comes from {names[conv]}, a {type(conv).__name__}'
    if sum(conv in others for others in feeds.sources.values()) > 1:
        return f'{names[conv]}, before it, feeds several norms'
    if conv in feeds.read_elsewhere:
        return f'the output of {names[conv]}, before it, is used elsewhere too'
    if norm._forward_hooks or norm._forward_pre_hooks or conv._forward_hooks:
        return f'it or {names[conv]}, before it, has hooks'
    return _why_no_weight(conv)


def _why_no_weight(conv: nn.Module) -> str | None:
    # Such as under spectral_norm.
    if isinstance(conv._parameters.get('weight'), nn.Parameter):
        return None
    return 'the weight of the convolution is computed from other parameters'


def _standardized(conv: nn.Module) -> Tensor:
    # As the forward of each does it, to the last bit.
    weight, kind = conv.weight, _kind(conv)
    if kind.endswith('.ConvAWS2d'):
        return conv._get_weight(weight)
    if kind.endswith('.ConvWS'):
        planes = weight.flatten(1)[None]
        return normalize(planes, conv.coefficients).view_as(weight)
    flat = weight.flatten(1)
    mean, std = flat.mean(1, keepdim=True), flat.std(1, keepdim=True)
    return ((flat - mean) / (std + conv.eps)).view_as(weight)


def _make_plain(conv: nn.Module) -> None:
    _set(conv, 'weight', _standardized(conv))
    conv.__dict__.pop('eps', None)
    for name in ('weight_gamma', 'weight_beta'):
        conv._buffers.pop(name, None)
    # The same object, for its hooks and for who else holds it.
    conv.__class__ = nn.Conv2d


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm in evaluation, a channel."""
    # In float64, so that only the results are rounded.
    mean, var = norm.running_mean.double(), norm.running_var.double()
    scale = (var + norm.eps).rsqrt()
    if norm.weight is None:
        return scale, -mean * scale
    scale = norm.weight * scale
    return scale, norm.bias - mean * scale


def _scale(conv: nn.Module, scale: Tensor, shift: Tensor) -> None:
    weight = conv.weight
    ones = [1] * (weight.dim() - 1)
    bias = 0 if conv.bias is None else conv.bias * scale
    _set(conv, 'bias', (bias + shift).to(weight))
    _set(conv, 'weight', weight * scale.view(-1, *ones))


def _set(conv: nn.Module, name: str, value: Tensor) -> None:
    # A parameter of its own, for the old one may belong to others too.
    setattr(conv, name, nn.Parameter(value.to(conv.weight.dtype)))


def _channel_part(norm: BCN) -> GN:
    part = GN(norm.num_channels, norm.num_groups, norm.eps).to(norm.weight)
    for name in ('weight', 'bias'):
        value = getattr(norm, name)
        repeats = norm.num_channels // value.numel()
        part._parameters[name].copy_(value.repeat_interleave(repeats))
    return part.eval()
