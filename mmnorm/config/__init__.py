# Copyright (c) mmnorm contributors. All rights reserved.
"""Configs: put a norm into one, and check what one names."""
