# Copyright (c) mmnorm contributors. All rights reserved.
"""Triton's driver for a GPU that is not there.

The module is for processes that :mod:`benchmarks.host.run` starts.
"""

import ctypes
import importlib
import os
import pkgutil

import torch
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia import driver as nvidia
from triton.runtime import driver


class _Device:
    """What Triton asks a GPU for."""

    @staticmethod
    def load_binary(*_: object) -> tuple[int, int, int, int, int]:
        # Module, function, registers, spilled bytes, threads per program.
        return 1, 1, 32, 0, 1024

    @staticmethod
    def get_device_properties(_: int) -> dict[str, int]:
        return {
            'max_shared_mem': 232448,
            'multiprocessor_count': 132,
            'warpSize': 32,
        }


class _Driver:
    utils = _Device()
    launcher_cls = nvidia.CudaLauncher
    map_python_to_cpp_type = staticmethod(nvidia.ty_to_cpp)

    @staticmethod
    def get_current_target() -> GPUTarget:
        return GPUTarget('cuda', 90, 32)

    @staticmethod
    def get_current_device() -> int:
        return 0

    @staticmethod
    def get_current_stream(device: int) -> int:
        return 0


def take_launches() -> None:
    """Let the norms on CPU launch their kernels, which run nowhere."""
    driver.set_active(_Driver())
    import mmnorm.functional as package

    for module in pkgutil.walk_packages(
        package.__path__, package.__name__ + '.'
    ):
        importlib.import_module(module.name)
    # Triton has read the second variable, and does not interpret.
    os.environ |= {'MMNORM_BACKEND': 'triton', 'TRITON_INTERPRET': '1'}
    torch.set_num_threads(1)


def launches() -> int:
    """Return the number of launches so far."""
    count = ctypes.CDLL('libcuda.so.1').launches_taken
    count.restype = ctypes.c_long
    return count()
