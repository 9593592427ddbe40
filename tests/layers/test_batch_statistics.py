# Copyright (c) mmnorm contributors. All rights reserved.
"""Batch statistics cost nothing where nobody reads them."""

import pytest
import torch

from mmnorm import SyncBN
from mmnorm.layers import batch_kalman_norm, batch_statistics

from .cases import STATISTICS_LAYERS, make_input, make_layer

MOMENTS = torch.rand(2, 3, 8).unbind()


@pytest.mark.parametrize('name', STATISTICS_LAYERS)
def test_evaluation_computes_no_sums(monkeypatch, name):
    # On maps, torch's own operator serves SyncBN.
    layer, x = make_layer(name).eval(), make_input((2, 8))
    for module in (batch_kalman_norm, batch_statistics):
        monkeypatch.setattr(module, 'batch_sums', None)
    layer(x)
    with pytest.raises(TypeError, match='not callable'):
        layer.train()(x)


@pytest.mark.parametrize('kind', ['estimated', 'biased', 'unbiased'])
def test_evaluation_copies_no_statistics(kind):
    stats = SyncBN(8).eval()
    mean, var = batch_statistics.batch_statistics(
        stats, *MOMENTS, 12, kind, None
    )
    assert mean is stats.running_mean
    assert var is stats.running_var


def test_estimates_are_copied_in_training():
    # The next forward moves the running statistics, and the backward of this
    # forward may come later.
    stats = SyncBN(8)
    mean, _ = batch_statistics.batch_statistics(
        stats, *MOMENTS, 12, 'estimated', None
    )
    expected = mean.clone()
    stats.running_mean.zero_()
    assert torch.equal(mean, expected)
