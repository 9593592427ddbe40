# Copyright (c) mmnorm contributors. All rights reserved.
"""Everything that runs under mmengine: hooks, and the runner of the tools."""
