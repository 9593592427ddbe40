# Copyright (c) mmnorm contributors. All rights reserved.
"""Leave out the tests that an old Triton cannot run without a GPU.

The kernels need Triton 3.0. The tests use the interpreter and the compiler of
Triton 3.2 and later.
"""

from mmengine.utils import digit_version

try:
    from triton import __version__
except ImportError:
    __version__ = '0'

is_old = digit_version(__version__) < digit_version('3.2')
collect_ignore_glob = ['test_*.py'] if is_old else []
