# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch
from torch import Tensor

from mmnorm import BN, GN, IN, LN, MetaNorm
from mmnorm.functional import normalize
from mmnorm.functional.meta import channel_factors, meta_coefficients
from mmnorm.precise import recalibrate

from .cases import assert_same, call, make_input, run

GATES = {
    'IN': (0, 0, 0),
    'GN of four': (0, 0, 1),
    'GN of two': (0, 1, 1),
    'LN': (1, 1, 1),
    'first half with last': (1, 0, 0),
    'between': (0.3, 0.9, 0.5),
}


def pooling(gate: Tensor, size: int) -> Tensor:
    """Return the identity for a gate of 0, averages for a gate of 1."""
    own = torch.eye(size).double()
    return (1 - gate) * own + gate * torch.ones_like(own) / size


def dense_norm(x: Tensor, channel_gates, batch_gate, eps: float) -> Tensor:
    """Return the norm of the paper, with matrices over channels and images."""
    n = len(x)
    u = torch.ones(1, 1).double()
    for gate in channel_gates:
        u = torch.kron(u, pooling(gate, 2))
    v = pooling(batch_gate, n)
    m = x.flatten(2).mean(2).T
    t = x.square().flatten(2).mean(2).T
    mean = (u @ m @ v).T[..., None, None]
    var = (u @ t @ v).T[..., None, None] - mean.square()
    return (x - mean) / (var + eps).sqrt()


@pytest.mark.parametrize('batch_gate', [0, 1, 0.6])
@pytest.mark.parametrize('gates', GATES.values(), ids=GATES)
def test_equals_dense_matrices(gates, batch_gate):
    x = make_input((3, 8, 5, 4))
    gates = torch.tensor([batch_gate, *gates]).double().requires_grad_()
    one, zero = torch.ones(8).double(), torch.zeros(8).double()

    def coefficients(mean, var, num_pixels):
        batch_mean = mean.mean(0)
        batch_var = (var + (mean - batch_mean).square()).mean(0)
        batch, sizes = (batch_mean, batch_var), (2, 2, 2)
        of_batch, *of_channels = gates
        return meta_coefficients(
            mean, var, batch, of_batch, of_channels, sizes, one, zero, 1e-5
        )

    actual = normalize(x, coefficients)
    expected = dense_norm(x, gates[1:], gates[0], 1e-5)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn(x.shape).double()
    actual = torch.autograd.grad((weights * actual).sum(), (x, gates))
    expected = torch.autograd.grad((weights * expected).sum(), (x, gates))
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize('learn_gates', [True, False])
@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize(
    ('norm', 'options'),
    [
        (IN(24), dict(num_groups=None)),
        (LN(24), dict(num_groups=1)),
        (GN(24, 3), dict(num_groups=3)),
        (GN(24, 8), dict(num_groups=8)),
        (GN(24, 'auto'), dict(num_groups='auto')),
        (BN(24), dict(num_groups=None, use_bn=True)),
    ],
    ids=['IN', 'LN', 'GN of 3', 'GN of 8', 'GN auto', 'BN'],
)
def test_equals_known_norms(norm, options, training, learn_gates):
    meta = MetaNorm(24, **options, learn_gates=learn_gates)
    norm, meta = (m.double().train(training) for m in (norm, meta))
    for parameter in norm.parameters():
        torch.nn.init.uniform_(parameter)
    meta.load_state_dict(norm.state_dict(), strict=False)
    x = make_input((3, 24, 5, 4))
    expected, actual = run(norm, call, x), run(meta, call, x)
    assert_same({k: actual[k] for k in expected}, expected, 1e-12)


def test_channels_are_twos_and_an_odd_rest():
    norm = MetaNorm(48, num_groups=12)
    assert norm.channel_sizes == (2, 2, 3, 2, 2)
    assert norm.channel_logits.tolist() == [-1, -1, -1, 1, 1]
    assert channel_factors(7) == (7,)
    assert MetaNorm(1, 'auto')(torch.rand(2, 1, 3, 3)).shape == (2, 1, 3, 3)


def test_training_finds_the_norm_of_its_targets():
    torch.manual_seed(0)
    norm, target = MetaNorm(8, num_groups=2), BN(8)
    gates = norm.channel_logits, norm.batch_logit
    optimizer = torch.optim.SGD(gates, lr=0.5)
    for _ in range(100):
        x = torch.randn(4, 8, 6, 6) * torch.rand(4, 8, 1, 1)
        x = x + torch.randn(4, 8, 1, 1)
        loss = (norm(x) - target(x)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (norm.channel_logits < 0).all()
    assert norm.batch_logit > 0


def test_learned_gates_load_as_fixed_ones():
    learned, x = MetaNorm(8, 2, use_bn=True), torch.randn(2, 8, 3, 3)
    fixed = MetaNorm(8, 4, use_bn=True, learn_gates=False)
    with torch.no_grad():
        learned.channel_logits.copy_(torch.tensor([1.0, -1, 1]))
    fixed.load_state_dict(learned.state_dict())
    assert not any('logit' in key for key, _ in fixed.named_parameters())
    torch.testing.assert_close(fixed(x), learned(x))


def test_checkpoint_of_batch_norm_loads():
    state, missing = BN(8).state_dict(), {'channel_logits', 'batch_logit'}
    keys = MetaNorm(8, None, use_bn=True).load_state_dict(state, False)
    assert set(keys.missing_keys) == missing
    assert not keys.unexpected_keys
    norm = MetaNorm(8, 4, learn_gates=False)
    keys = norm.load_state_dict(BN(8).state_dict(), False)
    assert not keys.unexpected_keys


def test_recalibrates():
    norm, xs = MetaNorm(8, 4), torch.randn(3, 2, 8, 5, 4)
    recalibrate(norm, xs)
    expected = xs.transpose(0, 2).flatten(1).var(1)
    torch.testing.assert_close(norm.running_var, expected)
