"""Compares the gradients of learning rules with the exact gradient along a training run."""

from snaprun.align.candidates import Candidate, candidates, own
from snaprun.align.options import AlignOptions
from snaprun.align.probe import Probe

__all__ = ["AlignOptions", "Candidate", "Probe", "candidates", "own"]
