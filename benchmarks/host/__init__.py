# Copyright (c) mmnorm contributors. All rights reserved.
"""Time of the host for layers of Triton kernels, measured without a GPU."""
