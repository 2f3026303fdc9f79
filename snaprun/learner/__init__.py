"""The Python door: a network learns a stream that comes one time step at a time."""

from snaprun.learner.learner import Learner

__all__ = ["Learner"]
