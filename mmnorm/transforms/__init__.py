# Copyright (c) mmnorm contributors. All rights reserved.
"""Transforms for the pipelines of a config."""

from .amplitude_phase_recombination import AmplitudePhaseRecombination

__all__ = ['AmplitudePhaseRecombination']
