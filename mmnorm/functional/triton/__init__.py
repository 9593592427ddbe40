# Copyright (c) mmnorm contributors. All rights reserved.
"""Triton kernels of the plane operators, the coefficients and statistics.

The modules of this folder need the package triton.
"""
