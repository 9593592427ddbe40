# Copyright (c) mmnorm contributors. All rights reserved.
"""Networks that mmpretrain lacks. A config imports them, mmnorm does not."""
