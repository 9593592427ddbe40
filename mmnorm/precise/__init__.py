# Copyright (c) mmnorm contributors. All rights reserved.
"""Running statistics of a whole model: exact ones, and checks of them."""

from .exact_statistics import Shift, recalibrate
from .input_statistics import Statistics, input_statistics
from .running_norms import running_norms, sums_of
from .training_batches import recalibrate_on, training_data

__all__ = [
    'Shift',
    'Statistics',
    'input_statistics',
    'recalibrate',
    'recalibrate_on',
    'running_norms',
    'sums_of',
    'training_data',
]
