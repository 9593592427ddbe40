# Copyright (c) mmnorm contributors. All rights reserved.
"""Run a module whose Triton kernels are compiled and launched without a GPU.

Triton compiles for Hopper and packs the arguments of each launch as it does
on a GPU. The driver behind it is :file:`no_gpu.c`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name('no_gpu.c')
ROOT = SOURCE.parents[2]


def run_without_gpu(*command: str) -> object:
    """Return what a module writes as JSON in its last line.

    Args:
        command: The module and its arguments.

    Raises:
        RuntimeError: If the module fails.
    """
    import triton

    include = Path(triton.__file__).parent / 'backends/nvidia/include'
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, 'libcuda.so.1')
        compiler = os.environ.get('CC', 'cc')
        options = '-shared', '-fPIC', f'-I{include}', '-o', str(library)
        subprocess.run([compiler, *options, str(SOURCE)], check=True)
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-m', *command],
            env=os.environ
            | {
                'LD_LIBRARY_PATH': folder,
                'TRITON_LIBCUDA_PATH': folder,
                'TRITON_CACHE_DIR': folder,
                'OMP_NUM_THREADS': '1',
                'CUDA_VISIBLE_DEVICES': '',
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise RuntimeError(f'{command[0]} failed: {done.stderr[-2000:]}')
    return json.loads(done.stdout.splitlines()[-1])
