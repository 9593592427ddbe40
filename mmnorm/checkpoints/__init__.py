# Copyright (c) mmnorm contributors. All rights reserved.
"""Checkpoint files: reading, writing, comparing and converting them."""

from .compare import Comparison, load, standardization_warnings
from .convert.formats import FORMATS, Converted, convert, state_of
from .files import read_checkpoint, write_checkpoint

__all__ = [
    'FORMATS',
    'Comparison',
    'Converted',
    'convert',
    'load',
    'read_checkpoint',
    'standardization_warnings',
    'state_of',
    'write_checkpoint',
]
