# Copyright (c) mmnorm contributors. All rights reserved.
"""Running statistics of a whole model: exact values, and a check of them."""

from .exact_statistics import StatisticsChange, recalibrate
from .input_statistics import InputStatistics, input_statistics
from .mixed_statistics import mix_image_statistics
from .running_norms import input_sums, running_norms
from .training_batches import recalibrate_on, training_data

__all__ = [
    'InputStatistics',
    'StatisticsChange',
    'input_statistics',
    'input_sums',
    'mix_image_statistics',
    'recalibrate',
    'recalibrate_on',
    'running_norms',
    'training_data',
]
