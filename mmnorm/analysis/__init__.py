# Copyright (c) mmnorm contributors. All rights reserved.
"""The norms of a model: their state, and known mistakes with them."""

from .level_calls import level_calls
from .mistakes import Mistake, find_mistakes
from .norm_states import NormState, norm_states

__all__ = [
    'Mistake',
    'NormState',
    'find_mistakes',
    'level_calls',
    'norm_states',
]
