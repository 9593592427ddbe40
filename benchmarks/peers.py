# Copyright (c) mmnorm contributors. All rights reserved.
"""Norms as compositions of torch operators, as their authors wrote them.

The layers follow the formulas of the released code operator by operator, and
read and write the same tensors as that code.
"""

import torch
from torch import Tensor, nn


def _over_channels(t: Tensor) -> Tensor:
    return t.view(1, -1, 1, 1)


class ComposedBCN(nn.Module):
    """A batch-channel norm of a batch norm and a batch norm over groups.

    https://github.com/joe-siyuan-qiao/Batch-Channel-Normalization

    With ``estimate`` the batch norm uses the running estimates of the
    authors' README, at a moving speed of 0.1.
    """

    def __init__(
        self, num_features: int, estimate: bool = True, num_groups: int = 32
    ) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(num_features)
        self.estimate = estimate
        self.num_groups = num_groups
        self.weight = nn.Parameter(torch.ones(1, num_groups, 1))
        self.bias = nn.Parameter(torch.zeros(1, num_groups, 1))

    def forward(self, x: Tensor) -> Tensor:
        z = self._estimated(x) if self.estimate else self.bn(x)
        n, g = x.shape[0], self.num_groups
        z = z.reshape(1, n * g, -1)
        none = (None,) * 4
        z = torch.batch_norm(z, *none, True, 0.0, 1e-5, True)
        return (z.view(n, g, -1) * self.weight + self.bias).view_as(x)

    def _estimated(self, x: Tensor) -> Tensor:
        bn = self.bn
        with torch.no_grad():
            mean = x.mean((0, 2, 3))
            centered = x - _over_channels(bn.running_mean)
            var = centered.square().mean((0, 2, 3))
            bn.running_mean.lerp_(mean.to(bn.running_mean), 0.1)
            bn.running_var.lerp_(var.to(bn.running_var), 0.1)
        centered = x - _over_channels(bn.running_mean)
        z = centered / (_over_channels(bn.running_var) + 1e-5).sqrt()
        return z * _over_channels(bn.weight) + _over_channels(bn.bias)


class ComposedSN(nn.Module):
    """A switchable norm of sums over views of one tensor.

    https://github.com/switchablenorms/Switchable-Normalization
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, num_features, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, num_features, 1, 1))
        self.mean_weight = nn.Parameter(torch.ones(3))
        self.var_weight = nn.Parameter(torch.ones(3))
        self.register_buffer('running_mean', torch.zeros(1, num_features, 1))
        self.register_buffer('running_var', torch.zeros(1, num_features, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.reshape(n, c, -1)
        mean_in = x.mean(-1, keepdim=True)
        var_in = x.var(-1, correction=0, keepdim=True)
        square = var_in + mean_in**2
        mean_ln = mean_in.mean(1, keepdim=True)
        var_ln = square.mean(1, keepdim=True) - mean_ln**2
        mean_bn = mean_in.mean(0, keepdim=True)
        var_bn = square.mean(0, keepdim=True) - mean_bn**2
        for running, batch in (
            (self.running_mean, mean_bn),
            (self.running_var, var_bn),
        ):
            running.lerp_(batch.detach().to(running), 0.1)
        of_mean = self.mean_weight.softmax(0)
        of_var = self.var_weight.softmax(0)
        means, variances = (
            (mean_in, mean_ln, mean_bn),
            (var_in, var_ln, var_bn),
        )
        mean = sum(a * m for a, m in zip(of_mean, means, strict=True))
        var = sum(a * v for a, v in zip(of_var, variances, strict=True))
        x = ((x - mean) / (var + 1e-5).sqrt()).view(n, c, h, w)
        return x * self.weight + self.bias
