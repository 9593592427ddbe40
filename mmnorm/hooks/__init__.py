# Copyright (c) mmnorm contributors. All rights reserved.
"""What ``custom_hooks`` can name; one file a hook."""

from .repeatable import RepeatableHook

__all__ = ['RepeatableHook']
