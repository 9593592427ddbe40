# Copyright (c) mmnorm contributors. All rights reserved.
"""Let norms compute the activations that follow them."""

from types import MethodType

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmnorm.layers import BCN, GN, SN, SyncBN


def fuse_norm_act(model: nn.Module) -> int:
    """Hand the activation behind a norm of this package to the norm.

    The same results. Where the Triton kernels run, they activate in the pass
    that normalizes: memory is read and written once less forward and twice
    less backward, and what was given to the activation is never written.
    Elsewhere nothing changes. Parameters and state dict stay as they are.

    Found are ReLU, LeakyReLU and SiLU in ``nn.Sequential``, in the
    ``ConvModule`` of mmcv, and in the stems and blocks of the ResNets of
    mmdet and mmseg, but for what follows the sum at the end of a block.

    Args:
        model: Changed in place.

    Returns:
        The number of modules that now hand over activations.

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
        # A module with a forward of its own is somebody else's, or fused.
        if forward and 'forward' not in vars(module) and supports(module):
            module.forward = MethodType(forward, module)
            num_fused += 1
    return num_fused


def _is_pair(norm: nn.Module, activation: nn.Module) -> bool:
    return isinstance(norm, (BCN, GN, SN, SyncBN)) and isinstance(
        activation, (nn.ReLU, nn.LeakyReLU, nn.SiLU)
    )


def _sequential_suits(self: nn.Sequential) -> bool:
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


def _conv_module_suits(self: nn.Module) -> bool:
    return (
        self.order == ('conv', 'norm', 'act')
        and self.with_norm
        and self.with_activation
        and _is_pair(self.norm, self.activate)
        # In evaluation, this leaves out the norm.
        and self.efficient_conv_bn_eval_forward is None
    )


def _conv_module(
    self: nn.Module, x: Tensor, activate: bool = True, norm: bool = True
) -> Tensor:
    if not (activate and norm):
        return type(self).forward(self, x, activate, norm)
    if self.with_explicit_padding:
        x = self.padding_layer(x)
    return self.norm(self.conv(x), self.activate)


def _block_suits(self: nn.Module) -> bool:
    plugins = getattr(self, 'with_plugins', False)
    return not plugins and _is_pair(self.norm1, self.relu)


def _block(self: nn.Module, x: Tensor) -> Tensor:
    def add_branch(x: Tensor) -> Tensor:
        branch = self.norm1(self.conv1(x), self.relu)
        if hasattr(self, 'conv3'):
            branch = self.norm2(self.conv2(branch), self.relu)
            branch = self.norm3(self.conv3(branch))
        else:
            branch = self.norm2(self.conv2(branch))
        branch += x if self.downsample is None else self.downsample(x)
        return branch

    if self.with_cp and x.requires_grad:
        # The older of the two styles, as the block itself has it.
        return self.relu(checkpoint(add_branch, x, use_reentrant=True))
    return self.relu(add_branch(x))


def _resnet_suits(self: nn.Module) -> bool:
    return not self.deep_stem and _is_pair(self.norm1, self.relu)


def _resnet(self: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    x = self.maxpool(self.norm1(self.conv1(x), self.relu))
    stages = []
    for name in self.res_layers:
        x = getattr(self, name)(x)
        stages.append(x)
    return tuple(s for i, s in enumerate(stages) if i in self.out_indices)


# By name, so that nothing is imported that the model does not come from.
FORWARDS = {
    'torch.nn.modules.container.Sequential.forward': (
        _sequential_suits,
        _sequential,
    ),
    'mmcv.cnn.bricks.conv_module.ConvModule.forward': (
        _conv_module_suits,
        _conv_module,
    ),
}
for _library in ('mmdet', 'mmseg'):
    _resnets = f'{_library}.models.backbones.resnet'
    FORWARDS |= {
        f'{_resnets}.BasicBlock.forward': (_block_suits, _block),
        f'{_resnets}.Bottleneck.forward': (_block_suits, _block),
        f'{_resnets}.ResNet.forward': (_resnet_suits, _resnet),
    }
