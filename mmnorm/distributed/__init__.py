# Copyright (c) mmnorm contributors. All rights reserved.
"""All that the processes of a training exchange."""

from .all_reduce import all_reduce
from .step_sync import StepSync

__all__ = ['StepSync', 'all_reduce']
