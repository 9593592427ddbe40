# Copyright (c) mmnorm contributors. All rights reserved.
"""The tests of the Triton kernels run in Triton's interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .devices import HAS_GPU, INTERPRETED


@pytest.mark.skipif(
    INTERPRETED or HAS_GPU, reason='this process runs the kernels'
)
@pytest.mark.parametrize(
    'name',
    [
        'planes',
        'coefficients',
        'statistics',
        'fused',
        'fused_processes',
        'self_test',
    ],
)
def test_interpreted(name):
    file = Path(__file__).with_name(f'test_{name}.py')
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-x', str(file)],
        env=os.environ | {'TRITON_INTERPRET': '1'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
