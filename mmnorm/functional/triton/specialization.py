# Copyright (c) mmnorm contributors. All rights reserved.
"""Triton kernels that are compiled once for all sizes."""

import inspect
from collections.abc import Callable

import triton


def kernel_for_any(
    sizes: tuple[str, ...], pointers: tuple[str, ...]
) -> Callable:
    """Return a decorator of kernels that are compiled once for all sizes.

    By default Triton compiles a kernel again for a size that is 1 or a
    multiple of 16, and for each alignment of small tensors in memory. Height
    and width change at every step of a detector.

    Args:
        sizes: Names of the arguments that are whole numbers.
        pointers: Names of the pointers to numbers per plane or per channel.
    """
    options: dict[str, tuple[str, ...]] = {'do_not_specialize': sizes}
    # Triton has this option since 3.2.
    if (
        'do_not_specialize_on_alignment'
        in inspect.signature(triton.jit).parameters
    ):
        options['do_not_specialize_on_alignment'] = pointers
    return triton.jit(**options)
