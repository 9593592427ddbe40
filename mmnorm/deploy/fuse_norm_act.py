# Copyright (c) mmnorm contributors. All rights reserved.
"""Let norms compute the activations that follow them."""

from functools import partial

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmnorm.layers import BCN, GN, MABN, SN, MetaNorm, SyncBN

FUSED = (BCN, GN, MABN, MetaNorm, SN, SyncBN)


def fuse_norm_act(model: nn.Module) -> int:
    """Pass the activation behind a norm of this package to the norm.

    The results stay the same. The Triton kernels compute the activation in
    the pass that normalizes: memory is read and written one time less in the
    forward and two times less in the backward, and the input of the
    activation is never written. Without the kernels nothing changes.
    Parameters and state dict stay as they are.

    The function finds ReLU, LeakyReLU and SiLU in ``nn.Sequential``, in
    ``ConvModule`` of mmcv, and in the stems and blocks of the ResNets of
    mmdet and mmseg. The activation behind the sum of a block stays.

    Args:
        model: The model; changed in place.

    Returns:
        The number of modules that now pass activations to norms.

    Example::

        >>> model = nn.Sequential(nn.Conv2d(3, 32, 3), GN(32), nn.ReLU())
        >>> fuse_norm_act(model)
        1
    """
    num_fused = 0
    for module in list(model.modules()):
        known = type(module).forward
        supports, forward = FORWARDS.get(
            f'{known.__module__}.{known.__qualname__}', (None, None)
        )
        # An instance with its own forward is fused, or changed by a user.
        if forward and 'forward' not in vars(module) and supports(module):
            # A partial, unlike a method, can be pickled.
            module.forward = partial(forward, module)
            num_fused += 1
    return num_fused


def _is_pair(norm: nn.Module, activation: nn.Module) -> bool:
    return isinstance(norm, FUSED) and isinstance(
        activation, (nn.ReLU, nn.LeakyReLU, nn.SiLU)
    )


def _apply(norm: nn.Module, activation: nn.Module, x: Tensor) -> Tensor:
    # ``fold`` may have replaced the norm since.
    if _is_pair(norm, activation):
        return norm(x, activation)
    return activation(norm(x))


def _supports_sequential(self: nn.Sequential) -> bool:
    modules = list(self)
    return any(map(_is_pair, modules, modules[1:]))


def _sequential(self: nn.Sequential, x: Tensor) -> Tensor:
    modules = [*self, None]
    while len(modules) > 1:
        module = modules.pop(0)
        if _is_pair(module, modules[0]):
            x = module(x, modules.pop(0))
        else:
            x = module(x)
    return x


def _supports_conv_module(self: nn.Module) -> bool:
    return (
        self.order == ('conv', 'norm', 'act')
        and self.with_norm
        and self.with_activation
        and _is_pair(self.norm, self.activate)
        # In evaluation, that forward skips the norm.
        and self.efficient_conv_bn_eval_forward is None
    )


def _conv_module(
    self: nn.Module, x: Tensor, activate: bool = True, norm: bool = True
) -> Tensor:
    if not (activate and norm):
        return type(self).forward(self, x, activate, norm)
    if self.with_explicit_padding:
        x = self.padding_layer(x)
    return _apply(self.norm, self.activate, self.conv(x))


def _supports_block(self: nn.Module) -> bool:
    plugins = getattr(self, 'with_plugins', False)
    return not plugins and _is_pair(self.norm1, self.relu)


def _block(self: nn.Module, x: Tensor) -> Tensor:
    def add_branch(x: Tensor) -> Tensor:
        branch = _apply(self.norm1, self.relu, self.conv1(x))
        if hasattr(self, 'conv3'):
            branch = _apply(self.norm2, self.relu, self.conv2(branch))
            branch = self.norm3(self.conv3(branch))
        else:
            branch = self.norm2(self.conv2(branch))
        branch += x if self.downsample is None else self.downsample(x)
        return branch

    if self.with_cp and x.requires_grad:
        # The blocks of mmdet use the reentrant form of checkpointing, too.
        return self.relu(checkpoint(add_branch, x, use_reentrant=True))
    return self.relu(add_branch(x))


def _supports_resnet(self: nn.Module) -> bool:
    return not self.deep_stem and _is_pair(self.norm1, self.relu)


def _resnet(self: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    x = self.maxpool(_apply(self.norm1, self.relu, self.conv1(x)))
    stages = []
    for name in self.res_layers:
        x = getattr(self, name)(x)
        stages.append(x)
    return tuple(s for i, s in enumerate(stages) if i in self.out_indices)


# Known forwards by name, because mmcv, mmdet and mmseg may be missing: the
# check of a module, and its forward with fused activations.
FORWARDS = {
    'torch.nn.modules.container.Sequential.forward': (
        _supports_sequential,
        _sequential,
    ),
    'mmcv.cnn.bricks.conv_module.ConvModule.forward': (
        _supports_conv_module,
        _conv_module,
    ),
}
for _library in ('mmdet', 'mmseg'):
    _resnets = f'{_library}.models.backbones.resnet'
    FORWARDS |= {
        f'{_resnets}.BasicBlock.forward': (_supports_block, _block),
        f'{_resnets}.Bottleneck.forward': (_supports_block, _block),
        f'{_resnets}.ResNet.forward': (_supports_resnet, _resnet),
    }
