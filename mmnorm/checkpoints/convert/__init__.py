# Copyright (c) mmnorm contributors. All rights reserved.
"""Conversion of other projects' state dicts to the layers of this package."""
