# Copyright (c) mmnorm contributors. All rights reserved.
"""Checkpoints of others, in the keys and numbers of the layers here."""

from .compare import Comparison, load, standardization_warnings
from .files import read_checkpoint, write_checkpoint
from .kinds import KINDS, Converted, convert, state_of
from .statistics import Statistics, input_statistics

__all__ = [
    'KINDS',
    'Comparison',
    'Converted',
    'Statistics',
    'convert',
    'input_statistics',
    'load',
    'read_checkpoint',
    'standardization_warnings',
    'state_of',
    'write_checkpoint',
]
