# Copyright (c) mmnorm contributors. All rights reserved.
"""Checkpoints of others, in the keys and numbers of the layers here."""

from .compare import Comparison, load, standardization_warnings
from .convert.kinds import KINDS, Converted, convert, state_of
from .files import read_checkpoint, write_checkpoint

__all__ = [
    'KINDS',
    'Comparison',
    'Converted',
    'convert',
    'load',
    'read_checkpoint',
    'standardization_warnings',
    'state_of',
    'write_checkpoint',
]
