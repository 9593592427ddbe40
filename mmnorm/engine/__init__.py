# Copyright (c) mmnorm contributors. All rights reserved.
"""What runs under mmengine: hooks, and the runner of the tools."""
