# Copyright (c) mmnorm contributors. All rights reserved.
"""Building and running the training or the test of a config."""
