# Copyright (c) mmnorm contributors. All rights reserved.
"""Devices on which the tests run Triton kernels.

The kernels run on a GPU where there is one. Elsewhere they run on CPU, in
Triton's interpreter. The interpreter has to be chosen before the kernels are
imported, so ``test_interpreted.py`` starts the tests in a separate process.
"""

import os

import pytest
import torch
import triton
from hypothesis import settings
from mmengine.utils import digit_version

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
DEVICE = 'cpu' if INTERPRETED else 'cuda'
HAS_GPU = torch.cuda.is_available() and not INTERPRETED
needs_kernels = pytest.mark.skipif(
    not HAS_GPU and not INTERPRETED,
    reason='no GPU; test_interpreted.py runs this test on CPU',
)
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason='no GPU')
# The examples are the same on every machine, and may take any time.
random_examples = settings(
    max_examples=40, derandomize=True, deadline=None, database=None
)
# Triton 3.3 changed the interface of its compiler.
can_compile = digit_version(triton.__version__) >= digit_version('3.3')
needs_compiler = pytest.mark.skipif(
    INTERPRETED or not can_compile,
    reason='needs the compiler of Triton 3.3 or later',
)
