# Copyright (c) mmnorm contributors. All rights reserved.
"""Read, check and write configs, and build their models."""
