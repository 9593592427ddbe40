# Copyright (c) mmnorm contributors. All rights reserved.
"""Rewriting of trained networks: less work, and the same results."""
