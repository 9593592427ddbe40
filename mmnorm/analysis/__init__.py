# Copyright (c) mmnorm contributors. All rights reserved.
"""What the norms of a model are and do."""

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
