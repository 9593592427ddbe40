# Copyright (c) mmnorm contributors. All rights reserved.
"""Build and run what a config asks for."""
