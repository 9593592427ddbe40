# Copyright (c) mmnorm contributors. All rights reserved.
"""The three steps of a norm: moments, coefficients, affine map."""

from .coefficients import (
    batch_channel_coefficients,
    batch_coefficients,
    filter_response_coefficients,
    group_coefficients,
    mixed_coefficients,
    renormalized_coefficients,
    switchable_coefficients,
)
from .normalize import normalize
from .sparsestmax import sparsestmax
from .standardize_weight import standardize_weight

__all__ = [
    'batch_channel_coefficients',
    'batch_coefficients',
    'filter_response_coefficients',
    'group_coefficients',
    'mixed_coefficients',
    'normalize',
    'renormalized_coefficients',
    'sparsestmax',
    'standardize_weight',
    'switchable_coefficients',
]
