# Copyright (c) mmnorm contributors. All rights reserved.
"""References of the norms, slow and in plain torch as the formulas read.

Each reference takes a layer with its parameters, and a list with the batches
of all processes. The reference normalizes every batch with the statistics of
all batches, and autograd computes the backward. Tests compare the layers with
the references in float64.
"""

import torch
from torch import Tensor, nn

Batches = list[Tensor]


def per_channel(t: Tensor, x: Tensor) -> Tensor:
    return t.reshape(1, -1, *[1] * (x.dim() - 2))


def all_values(xs: Batches) -> Tensor:
    return torch.cat([x.transpose(0, 1).flatten(1) for x in xs], 1)


def standardize(x: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    return (x - mean) / (var + eps).sqrt()


def group_norm(x, num_groups, weight, bias, eps):
    z = x.reshape(x.shape[0], num_groups, x[:1].numel() // num_groups)
    mean = z.mean(2, keepdim=True)
    var = (z - mean).square().mean(2, keepdim=True)
    z = standardize(z, mean, var, eps).reshape(x.shape)
    repeats = x.shape[1] // weight.numel()
    weight = weight.repeat_interleave(repeats)
    bias = bias.repeat_interleave(repeats)
    return z * per_channel(weight, x) + per_channel(bias, x)


def batch_norm(x, mean, var, weight, bias, eps):
    mean, var = per_channel(mean, x), per_channel(var, x)
    z = standardize(x, mean, var, eps)
    return z * per_channel(weight, x) + per_channel(bias, x)


def update_running(
    stats: nn.Module, mean: Tensor, var: Tensor, share: float = 1.0
) -> None:
    with torch.no_grad():
        stats.num_batches_tracked += 1
        if stats.momentum is None:
            rate = 1 / stats.num_batches_tracked.item()
        else:
            rate = share * stats.momentum
        stats.running_mean.mul_(1 - rate).add_(rate * mean)
        stats.running_var.mul_(1 - rate).add_(rate * var)


def copy_running(stats: nn.Module) -> tuple[Tensor, Tensor]:
    return stats.running_mean.clone(), stats.running_var.clone()


def batch_moments(stats: nn.Module, xs: Batches, unbiased: bool):
    values = all_values(xs)
    count = values.shape[1]
    if not stats.training or count < 2:
        return copy_running(stats)
    mean = values.mean(1)
    var = (values - mean[:, None]).square().mean(1)
    update_running(stats, mean, var * count / (count - 1) if unbiased else var)
    return mean, var


def update_estimates(layer: nn.Module, xs: Batches):
    stats, values, share = layer.bn, all_values(xs).detach(), 1.0
    if layer.base_batch_size is not None:
        num_images = sum(len(x) for x in xs)
        share = min(num_images / layer.base_batch_size, 1)
    if stats.training and values.shape[1] > 0:
        offset = values - stats.running_mean[:, None]
        var = offset.square().mean(1)
        update_running(stats, values.mean(1), var, share)
    return copy_running(stats)


def standardize_weight(weight, eps, unbiased, eps_inside_root, gain=1.0):
    """Standardize each filter by itself, in float64."""
    filters = []
    for kernel in weight.double():
        offset = kernel - kernel.mean()
        count = offset.numel() - unbiased
        var = offset.square().sum() / count
        std = (var + eps).sqrt() if eps_inside_root else var.sqrt() + eps
        filters.append(offset / std)
    gain = torch.as_tensor(gain).reshape(-1, *[1] * (weight.dim() - 1))
    return torch.stack(filters) * gain


def gn(layer, xs):
    return [
        group_norm(x, layer.num_groups, layer.weight, layer.bias, layer.eps)
        for x in xs
    ]


def sync_bn(layer, xs):
    mean, var = batch_moments(layer, xs, unbiased=True)
    return [
        batch_norm(x, mean, var, layer.weight, layer.bias, layer.eps)
        for x in xs
    ]


def brn(layer, xs):
    step = layer.num_batches_tracked.item()
    mu, sigma2 = (per_channel(t, xs[0]) for t in copy_running(layer))
    m, v = batch_moments(layer, xs, unbiased=False)
    m, v = per_channel(m, xs[0]), per_channel(v, xs[0])
    r_max = grown(1, layer.r_max, step, layer.start, layer.r_steps)
    d_max = grown(0, layer.d_max, step, layer.start, layer.d_steps)
    s, sigma = (v + layer.eps).sqrt(), (sigma2 + layer.eps).sqrt()
    r = (s / sigma).detach().clamp(1 / r_max, r_max)
    d = ((m - mu) / sigma).detach().clamp(-d_max, d_max)
    ys = []
    for x in xs:
        z = (x - m) / s * r + d
        weight, bias = per_channel(layer.weight, x), per_channel(layer.bias, x)
        ys.append(z * weight + bias)
    return ys


def bkn(layer, xs):
    values = all_values(xs)
    m, v = copy_running(layer)
    if layer.training and values.shape[1] > 1:
        m = values.mean(1)
        v = (values - m[:, None]).square().mean(1)
        if layer.prior is not None:
            m_p, v_p = predicted_moments(layer.prior)
            if (v_p / v).mean() < 100:
                p, q = 1 - layer.gain, layer.gain
                v = p * v_p + q * v + p * q * (m - m_p).square()
                m = p * m_p + q * m
        update_running(layer, m, v)
    return [
        batch_norm(x, m, v, layer.weight, layer.bias, layer.eps) for x in xs
    ]


def predicted_moments(prior):
    """Return the moments behind ReLU and a convolution, value by value."""
    conv, ((before, _),) = prior
    normal = torch.distributions.Normal(0, 1)
    means, variances = [], []
    for mean, std in zip(
        before.bias.detach(), before.weight.detach().abs(), strict=True
    ):
        above, density = normal.cdf(mean / std), normal.log_prob(mean / std)
        first = mean * above + std * density.exp()
        second = (mean**2 + std**2) * above + mean * std * density.exp()
        means.append(first)
        variances.append(second - first**2)
    size = conv.weight.shape[1]
    per_group = conv.out_channels // conv.groups
    m, v = [], []
    for out, weight in enumerate(conv.weight):
        first = out // per_group * size
        kernels = list(enumerate(weight, first))
        m.append(sum((w * means[i]).sum() for i, w in kernels))
        v.append(sum((w**2 * variances[i]).sum() for i, w in kernels))
    return torch.stack(m) + conv.bias, torch.stack(v)


def grown(first, last, step, start, end):
    """Return a limit that grows in equal steps after ``start`` steps."""
    if step < start:
        return first
    if step >= end:
        return last
    return first + (last - first) * (step + 1 - start) / (end + 1 - start)


def keep_for_step(layer, xs):
    """Add the sums of the values, their squares and their numbers."""
    values = all_values(xs).detach()
    if layer.bn.training:
        num_images = sum(len(x) for x in xs)
        counts = values.new_tensor([values.shape[1], num_images])
        sums = values.sum(1), values.square().sum(1), counts
        layer.step_sums += torch.cat(sums)
    return copy_running(layer.bn)


def bcn(layer, xs):
    bn = layer.bn
    if layer.estimate:
        if layer.sync == 'step':
            mean, var = keep_for_step(layer, xs)
        else:
            mean, var = update_estimates(layer, xs)
        zs = [batch_norm(x, mean, var, bn.weight, bn.bias, bn.eps) for x in xs]
        if bn.training and layer.estimate_grad:
            zs = with_batch_gradient(layer, xs, mean, var, zs)
    else:
        zs = sync_bn(bn, xs)
    return gn(layer, zs)


def with_batch_gradient(layer, xs, mean, var, zs):
    """Mix batch renormalization with normalization by constants."""
    bn, share = layer.bn, layer.grad_share
    values = all_values(xs)

    def renormalize(x, values):
        if values.shape[1] < 2:
            return batch_norm(x, mean, var, bn.weight, bn.bias, bn.eps)
        m = values.mean(1)
        v = (values - m[:, None]).square().mean(1)
        r = ((v + bn.eps) / (var + bn.eps)).sqrt().detach()
        d = ((m - mean) / (var + bn.eps).sqrt()).detach()
        m, v, r, d = (per_channel(t, x) for t in (m, v, r, d))
        z = standardize(x, m, v, bn.eps) * r + d
        return z * per_channel(bn.weight, x) + per_channel(bn.bias, x)

    mixed = []
    for x, z in zip(xs, zs, strict=True):
        if layer.estimate_grad == 'batch':
            other = renormalize(x, values)
        else:
            images = x.split(1) if len(x) else [x]
            other = [renormalize(i, all_values([i])) for i in images]
            other = torch.cat(other)
        mixed.append(share * other + (1 - share) * z)
    return mixed


def ic(layer, xs):
    """Compute the layer without dropout."""
    return sync_bn(layer.bn, xs)


def frn(layer, xs):
    eps = layer.eps
    if layer.learned_eps is not None:
        eps = eps + layer.learned_eps.abs()
    ys = []
    for x in xs:
        planes = tuple(range(2, x.dim()))
        square = x.square()
        nu2 = square.mean(planes, keepdim=True) if planes else square
        y = x / (nu2 + eps).sqrt() * per_channel(layer.weight, x)
        y = y + per_channel(layer.bias, x)
        ys.append(torch.maximum(y, per_channel(layer.tau, x)))
    return ys


def evonorm_s0(layer, xs):
    ys = []
    for x in xs:
        size = x.shape[1] // layer.num_groups
        var = torch.stack(
            [g.flatten(1).var(1, correction=0) for g in x.split(size, 1)], 1
        )
        std = (var + layer.eps).sqrt().repeat_interleave(size, 1)
        std = std.reshape(*std.shape, *[1] * (x.dim() - 2))
        z = x * torch.sigmoid(per_channel(layer.v, x) * x) / std
        y = z * per_channel(layer.weight, x) + per_channel(layer.bias, x)
        ys.append(y)
    return ys


def gw(layer, xs):
    ys = []
    for x in xs:
        images = [_whiten(image, layer) for image in x]
        z = torch.stack(images) if images else x
        weight, bias = per_channel(layer.weight, x), per_channel(layer.bias, x)
        ys.append(z * weight + bias)
    return ys


def _whiten(image, layer):
    z = image.reshape(layer.num_groups, -1)
    z = z - z.mean(1, keepdim=True)
    eye = torch.eye(layer.num_groups).to(z)
    sigma = z @ z.T / z.shape[1] + layer.eps * eye
    p, trace = eye, sigma.trace()
    for _ in range(layer.num_iterations):
        p = (3 * p - p @ p @ p @ (sigma / trace)) / 2
    return (p / trace.sqrt() @ z).reshape(image.shape)


def evonorm_b0(layer, xs):
    _, batch_var = batch_moments(layer, xs, unbiased=True)
    ys = []
    for x in xs:
        planes = tuple(range(2, x.dim()))
        var = x.var(planes, correction=0, keepdim=True) if planes else 0 * x
        std = (per_channel(batch_var, x) + layer.eps).sqrt()
        other = per_channel(layer.v, x) * x + (var + layer.eps).sqrt()
        z = x / torch.maximum(std, other)
        y = z * per_channel(layer.weight, x) + per_channel(layer.bias, x)
        ys.append(y)
    return ys


class MovingAverage(torch.autograd.Function):
    """The formulas of MABN for the forward and the backward of z."""

    @staticmethod
    def forward(ctx, x, var, eps, buffer, slot, ready):
        std = per_channel((var + eps).sqrt(), x)
        z = x / std
        ctx.save_for_backward(z, std)
        ctx.last = buffer, slot, ready
        return z

    @staticmethod
    def backward(ctx, g):
        z, std = ctx.saved_tensors
        buffer, slot, ready = ctx.last
        gz = all_values([g * z]).mean(1)
        buffer[slot] = gz
        if ready:
            gz = buffer.mean(0)
        return (g - z * per_channel(gz, z)) / std, *[None] * 5


def mabn(layer, xs):
    return [_moving_average_batch_norm(layer, x) for x in xs]


def _moving_average_batch_norm(layer, x):
    parameters = layer.weight, layer.bias
    if not layer.training or x.numel() == 0:
        zero = torch.zeros_like(layer.running_var)
        return batch_norm(x, zero, layer.running_var, *parameters, layer.eps)
    layer.num_batches_tracked += 1
    step, size = layer.num_batches_tracked.item(), layer.buffer_size
    var = all_values([x]).square().mean(1).detach()
    layer.buffer_x2[step % size] = var
    ready = step > size and step >= layer.warmup_iters
    if ready:
        var = layer.buffer_x2.mean(0)
    z = MovingAverage.apply(
        x, var, layer.eps, layer.buffer_gz, step % size, ready
    )
    r = torch.ones_like(var)
    if step > max(layer.renorm_iters, layer.warmup_iters):
        r = ((var + layer.eps) / (layer.running_var + layer.eps)).sqrt()
        r = r.clamp(1 / 5, 5)
    moved = (1 - layer.momentum) * layer.running_var + layer.momentum * var
    layer.running_var.copy_(moved)
    y = z * per_channel(r, x) * per_channel(layer.weight, x)
    return y + per_channel(layer.bias, x)


def sn(layer, xs):
    batch = None
    if layer.use_bn:
        batch = batch_moments(layer, xs, unbiased=False)
    return [_switchable_norm(layer, x, batch) for x in xs]


def ssn(layer, xs):
    batch = None
    if layer.use_bn:
        batch = batch_moments(layer, xs, unbiased=False)

    def share(logits):
        return sparsestmax(logits, layer.radius.item())

    return [_switchable_norm(layer, x, batch, share) for x in xs]


def sparsestmax(logits, radius, outer=None):
    shares = logits - (logits.sum() - 1) / len(logits)
    support = torch.ones_like(logits)
    while (shares < 0).any():  # drop what is negative, and project again
        support = (support * (shares > 0)).detach()
        rest = ((logits * support).sum() - 1) / support.sum()
        shares = (logits - rest) * support
    center = support / support.sum()
    if outer is not None:
        radius = max(radius**2 - (center - outer).square().sum(), 0) ** 0.5
    offset = shares - center
    distance = offset.detach().norm()
    if distance >= radius or distance < 1e-9:
        return shares
    moved = center + radius * offset / offset.norm()
    return sparsestmax(moved, radius, center) if moved.min() < 0 else moved


def _softmax(logits):
    return logits.softmax(0)


def _switchable_norm(layer, x, batch, share=_softmax):
    if x.dim() == 2:  # each plane is one pixel
        return _switchable_norm(layer, x[..., None], batch, share)[..., 0]
    planes, image = tuple(range(2, x.dim())), tuple(range(1, x.dim()))
    terms = []
    for dims in (planes, image):
        mean = x.mean(dims, keepdim=True)
        terms.append((mean, (x - mean).square().mean(dims, keepdim=True)))
    if batch is not None:
        terms.append([per_channel(t, x) for t in batch])
    mean_shares = share(layer.mean_weight)
    var_shares = share(layer.var_weight)
    mean = sum(w * m for w, (m, _) in zip(mean_shares, terms, strict=True))
    var = sum(w * v for w, (_, v) in zip(var_shares, terms, strict=True))
    z = standardize(x, mean, var, layer.eps)
    return z * per_channel(layer.weight, x) + per_channel(layer.bias, x)


def meta_norm(layer, xs):
    batch = None
    if layer.batch_logit is not None:
        batch = batch_moments(layer, xs, unbiased=True)
    u = torch.ones(1, 1, dtype=layer.weight.dtype)
    for logit, size in zip(
        layer.channel_logits, layer.channel_sizes, strict=True
    ):
        gate, eye = straight_through(logit), torch.eye(size).to(u)
        u = torch.kron(
            u, (1 - gate) * eye + gate * torch.ones_like(eye) / size
        )
    return [_meta_norm(layer, x, batch, u) for x in xs]


def straight_through(logit):
    return (logit > 0).to(logit) + logit.sigmoid() - logit.sigmoid().detach()


def _meta_norm(layer, x, batch, u):
    m = x.flatten(2).mean(2).T if x.dim() > 2 else x.T
    t = x.square().flatten(2).mean(2).T if x.dim() > 2 else x.square().T
    if batch is not None:
        gate, (mean, var) = straight_through(layer.batch_logit), batch
        m = (1 - gate) * m + gate * mean[:, None]
        t = (1 - gate) * t + gate * (var + mean.square())[:, None]
    mean = (u @ m).T
    var = (u @ t).T - mean.square()
    shape = *mean.shape, *[1] * (x.dim() - 2)
    z = standardize(x, mean.reshape(shape), var.reshape(shape), layer.eps)
    return z * per_channel(layer.weight, x) + per_channel(layer.bias, x)
