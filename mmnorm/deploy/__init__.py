# Copyright (c) mmnorm contributors. All rights reserved.
"""Trained networks made smaller and faster, with the same results."""
