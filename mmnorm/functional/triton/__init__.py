# Copyright (c) mmnorm contributors. All rights reserved.
"""The rooms of a norm as Triton kernels; importing them needs triton."""
