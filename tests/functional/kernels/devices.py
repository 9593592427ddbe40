# Copyright (c) mmnorm contributors. All rights reserved.
"""Where Triton kernels run in a test.

On a GPU where there is one. Elsewhere by Triton's interpreter, which has to
be chosen before the kernels are imported: ``test_interpreted.py`` runs the
tests once more, in a process of its own.
"""

import os

import pytest
import torch
from hypothesis import settings

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
DEVICE = 'cpu' if INTERPRETED else 'cuda'
HAS_GPU = torch.cuda.is_available() and not INTERPRETED
runs = pytest.mark.skipif(
    not HAS_GPU and not INTERPRETED,
    reason='no GPU; test_interpreted.py runs it on CPU',
)
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason='no GPU')
# The same on every machine, and however slow the interpreter.
examples = settings(
    max_examples=40, derandomize=True, deadline=None, database=None
)
compiles = pytest.mark.skipif(INTERPRETED, reason='the interpreter does not')
