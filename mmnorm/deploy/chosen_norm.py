# Copyright (c) mmnorm contributors. All rights reserved.
"""Replace a sparse switchable norm by the norm that it has chosen."""

import torch
from torch import nn

from mmnorm.functional import sparsestmax
from mmnorm.layers import BN, IN, LN, SSN

CHOICES = (IN, LN, BN)  # in the order of the shares


@torch.no_grad()
def deploy_chosen(model: nn.Module) -> dict[str, str]:
    """Replace each :class:`SSN` with one share left by that norm, in place.

    At the end of its schedule an SSN has one set of statistics for the mean
    and one for the variance. Where both are the same, :class:`IN`,
    :class:`LN` or :class:`BN` with the same weights computes the same and
    nothing else, and :func:`mmnorm.deploy.fold.fold` can put a BN into the
    convolution before it. An SSN with a mean and a variance of different
    sets, or with more than one share, stays.

    Args:
        model: A model in evaluation mode.

    Returns:
        The type that each SSN has become, ``'SSN'`` where it stays, by name.

    Raises:
        ValueError: If an SSN of the model is in training mode. The model is
            not changed then.

    Example::

        >>> model = nn.Sequential(SSN(8)).eval()
        >>> logits = torch.tensor([0.0, 3.0, 0.0])
        >>> state = {'mean_weight': logits, 'var_weight': logits}
        >>> _ = model[0].load_state_dict(state, strict=False)
        >>> deploy_chosen(model)
        {'0': 'LN'}
    """
    norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, SSN)
    }
    for name, norm in norms.items():
        if norm.training:
            raise ValueError(
                f'norm {name!r} is in training mode, where its shares are not '
                'constant: call model.eval() before deploy_chosen'
            )
    replaced = {norm: _chosen(norm) for norm in norms.values()}
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            # A module can have several parents.
            parent._modules[key] = replaced.get(child, child)
    types = {name: type(replaced[norm]) for name, norm in norms.items()}
    return {name: cls.__name__ for name, cls in types.items()}


def _chosen(norm: SSN) -> nn.Module:
    of_mean = sparsestmax(norm.mean_weight, norm.radius)
    of_var = sparsestmax(norm.var_weight, norm.radius)
    (index,) = torch.where(of_mean == 1)
    if len(index) == 0 or of_var[index] != 1:
        return norm
    cls = CHOICES[index]
    chosen = cls(norm.num_features, eps=norm.eps).to(norm.weight)
    chosen.weight, chosen.bias = norm.weight, norm.bias
    if cls is BN:
        chosen.running_mean = norm.running_mean
        chosen.running_var = norm.running_var
    return chosen.eval()
