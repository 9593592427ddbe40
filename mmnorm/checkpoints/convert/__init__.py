# Copyright (c) mmnorm contributors. All rights reserved.
"""State dicts of others, converted to the layers of this package."""
