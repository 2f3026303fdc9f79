"""snaprun: online training of recurrent networks with forward-mode credit assignment."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snaprun import cells, losses, nn, rules, sparsity
    from snaprun.learner import Learner

__all__ = ["Learner", "__version__", "cells", "losses", "nn", "rules", "sparsity"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what is asked for, and torch with it, when it is first asked for."""
    if name == "Learner":
        return importlib.import_module("snaprun.learner").Learner
    if name in __all__:
        return importlib.import_module(f"snaprun.{name}")
    raise AttributeError(f"module 'snaprun' has no attribute {name!r}")
