"""Rules' gradients beside the exact one along a training run."""

from snaprun.align.candidates import Candidate, candidates, own
from snaprun.align.options import AlignOptions
from snaprun.align.probe import Probe

__all__ = ["AlignOptions", "Candidate", "Probe", "candidates", "own"]
