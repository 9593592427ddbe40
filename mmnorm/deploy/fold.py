# Copyright (c) mmnorm contributors. All rights reserved.
"""Fold what is constant in evaluation into the convolutions."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from mmnorm.layers import BCN, GN

from .producers import Producers, find_producers

# Classes whose forward is known, by name, because mmcv may be missing. A
# subclass is not among them, because its forward may differ.
OWN_WS = {
    'mmnorm.layers.scaled_weight_standardization.ScaledConvWS',
    'mmnorm.layers.weight_standardization.ConvWS',
}
WS = OWN_WS | {
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
    # In evaluation with running statistics, instance norms are batch norms.
    'torch.nn.modules.instancenorm.InstanceNorm1d',
    'torch.nn.modules.instancenorm.InstanceNorm2d',
    'torch.nn.modules.instancenorm.InstanceNorm3d',
    'mmengine.model.utils._BatchNormXd',
    'mmengine.utils.dl_utils.parrots_wrapper.SyncBatchNorm',
    'mmcv.ops.sync_bn.SyncBatchNorm',
    'mmnorm.layers.batch_norm.BN',
    'mmnorm.layers.batch_renorm.BRN',
    'mmnorm.layers.sync_batch_norm.SyncBN',
}


class Folds(NamedTuple):
    """What :func:`fold` did.

    Attributes:
        folded: For the name of each folded module, what went where.
        kept: For the name of each module that stayed, the reason.
    """

    folded: dict[str, str]
    kept: dict[str, str]


@torch.no_grad()
def fold(model: nn.Module, *args: Any, **kwargs: Any) -> Folds:
    r"""Fold what is constant in evaluation into the convolutions, in place.

    Standardized weights become plain weights: ``ConvWS`` of mmnorm and
    mmcv, ``ScaledConvWS`` of mmnorm and ``ConvAWS`` of mmcv become
    ``nn.Conv2d``. A batch norm with running
    statistics goes into the convolution before it,

    .. math::
        W' = \frac{\gamma}{\sqrt{V + \epsilon}} W, \qquad
        b' = \frac{\gamma}{\sqrt{V + \epsilon}} (b - M) + \beta

    and becomes ``nn.Identity``. The batch part of :class:`BCN` does the same,
    and a :class:`GN` with a weight and a bias per channel remains. GN and SN
    stay as they are, because their statistics are those of each image. The
    outputs stay the same up to rounding.

    Unlike ``fuse_conv_bn`` of mmcv, ``fold`` standardizes a weight before it
    scales the weight, and it finds the convolution before a norm in a run of
    the model instead of guessing from the order of names. A module that
    cannot be folded stays as it is. Call ``fold`` before
    :func:`mmnorm.fuse_norm_act`, because fused norms take activations, too.

    Args:
        model: A model in evaluation mode.
        args: Positional arguments for a run of the model. The inputs may
            have any size, but the run has to call every norm that is to be
            folded.
        kwargs: Keyword arguments for the run, for example ``mode='tensor'``
            for models of mmdet and mmseg.

    Returns:
        The layers that were folded and those that were kept, with the
        reasons.

    Raises:
        ValueError: If a norm of the model is in training mode. The model
            is not changed then.

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
                'are not constant: call model.eval() before fold'
            )
    candidates = {norm for norm in norms if _batch_part(norm) is not None}
    producers = Producers({}, set())
    if candidates:
        producers = find_producers(model, candidates, *args, **kwargs)
    reasons = {norm: _reason_to_keep(norm, producers, names) for norm in norms}

    folds = Folds({}, {})
    for module, name in names.items():
        if _class_name(module) not in WS:
            continue
        reason = _reason_to_keep_weight(module)
        if reason is None:
            _make_plain(module)
            folds.folded[name] = 'its standardized weight'
        else:
            folds.kept[name] = reason
    replaced = {}
    for norm, name in norms.items():
        if reasons[norm] is not None:
            folds.kept[name] = reasons[norm]
            continue
        (conv,) = producers.of[norm]
        _scale(conv, *_affine(_batch_part(norm)))
        whole = not isinstance(norm, BCN)
        replaced[norm] = nn.Identity() if whole else _channel_part(norm)
        part = '' if whole else 'its batch part '
        folds.folded[name] = f'{part}into {names[conv]}'
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            # A module can have several parents.
            parent._modules[key] = replaced.get(child, child)
    return folds


def _norms(model: nn.Module) -> Iterator[nn.Module]:
    inner = {m.bn for m in model.modules() if isinstance(m, BCN)}
    bases = (_NormBase, nn.GroupNorm, nn.LayerNorm)
    for module in model.modules():
        is_norm = isinstance(module, bases) or _is_batch_norm(module)
        if is_norm and module not in inner:
            yield module


def _is_batch_norm(module: nn.Module) -> bool:
    return _class_name(module) in BATCH_NORMS


def _class_name(module: nn.Module) -> str:
    cls = type(module)
    return f'{cls.__module__}.{cls.__qualname__}'


def _batch_part(norm: nn.Module) -> nn.Module | None:
    """Return the batch norm that a norm is or contains, if any."""
    if type(norm) is BCN:
        return norm.bn
    return norm if _is_batch_norm(norm) else None


def _reason_to_keep(
    norm: nn.Module, producers: Producers, names: dict[nn.Module, str]
) -> str | None:
    batch_part = _batch_part(norm)
    if batch_part is None:
        if isinstance(norm, (_BatchNorm, BCN)):
            return f'fold does not know its class {type(norm).__name__}'
        return 'its statistics are those of each image'
    if batch_part.running_mean is None:
        return 'it has no running statistics'
    sources = producers.of.get(norm, set())
    if not sources:
        return 'it was not called'
    if len(sources) > 1:
        return 'its inputs come from several modules'
    (conv,) = sources
    if conv is None:
        return 'its input is not the output of a single module'
    if _class_name(conv) not in CONVS:
        return f'its input comes from {names[conv]}, a {type(conv).__name__}'
    if sum(conv in each for each in producers.of.values()) > 1:
        return f'the output of {names[conv]} goes into several norms'
    if conv in producers.read_elsewhere:
        return f'the output of {names[conv]} is used elsewhere, too'
    if norm._forward_hooks or norm._forward_pre_hooks or conv._forward_hooks:
        return f'it or {names[conv]} has hooks'
    return _reason_to_keep_weight(conv)


def _reason_to_keep_weight(conv: nn.Module) -> str | None:
    # Under spectral_norm, for example, the weight is no parameter.
    if isinstance(conv._parameters.get('weight'), nn.Parameter):
        return None
    return 'the weight of the convolution is computed from other parameters'


def _standardized(conv: nn.Module) -> Tensor:
    # The operators are those of each forward, for the same bits.
    weight, name = conv.weight, _class_name(conv)
    if name.endswith('.ConvAWS2d'):
        return conv._get_weight(weight)
    if name in OWN_WS:
        return conv.standardized_weight()
    flat = weight.flatten(1)
    mean, std = flat.mean(1, keepdim=True), flat.std(1, keepdim=True)
    return ((flat - mean) / (std + conv.eps)).view_as(weight)


def _make_plain(conv: nn.Module) -> None:
    _set_parameter(conv, 'weight', _standardized(conv))
    for name in ('eps', 'unbiased', 'eps_inside_root', 'gamma'):
        conv.__dict__.pop(name, None)
    for name in ('weight_gamma', 'weight_beta'):
        conv._buffers.pop(name, None)
    conv._parameters.pop('gain', None)
    # The object stays the same, for its hooks and for other references.
    conv.__class__ = nn.Conv2d


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the scale and the shift per channel of a batch norm."""
    # A computation in float64 rounds only its results.
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
    _set_parameter(conv, 'bias', (bias + shift).to(weight))
    _set_parameter(conv, 'weight', weight * scale.view(-1, *ones))


def _set_parameter(conv: nn.Module, name: str, value: Tensor) -> None:
    # The old parameter stays as it is, because modules may share it.
    setattr(conv, name, nn.Parameter(value.to(conv.weight.dtype)))


def _channel_part(norm: BCN) -> GN:
    part = GN(norm.num_channels, norm.num_groups, norm.eps).to(norm.weight)
    for name in ('weight', 'bias'):
        value = getattr(norm, name)
        repeats = norm.num_channels // value.numel()
        part._parameters[name].copy_(value.repeat_interleave(repeats))
    return part.eval()
