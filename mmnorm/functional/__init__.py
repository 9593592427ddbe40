# Copyright (c) mmnorm contributors. All rights reserved.
"""The three steps of a norm: moments, coefficients, affine map."""

from .coefficients import (
    batch_channel_coefficients,
    batch_coefficients,
    filter_response_coefficients,
    group_coefficients,
    renormalized_coefficients,
    switchable_coefficients,
)
from .normalize import normalize

__all__ = [
    'batch_channel_coefficients',
    'batch_coefficients',
    'filter_response_coefficients',
    'group_coefficients',
    'normalize',
    'renormalized_coefficients',
    'switchable_coefficients',
]
