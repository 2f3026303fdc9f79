"""Masks say which weights are live, a layout their packed order, and a pattern what they reach."""

from snaprun.registry import Registry
from snaprun.sparsity.layout import Layer, Layout
from snaprun.sparsity.magnitude import Magnitude
from snaprun.sparsity.masks import Dense, Diagonal, Sparsity, Uniform
from snaprun.sparsity.pattern import Pattern, Place, reachable
from snaprun.sparsity.reach import Reach

SPARSITIES = Registry(
    "sparsities",
    Sparsity,
    {"uniform": Uniform, "dense": Dense, "diagonal": Diagonal, "magnitude": Magnitude},
)

__all__ = [
    "SPARSITIES",
    "Dense",
    "Diagonal",
    "Layer",
    "Layout",
    "Magnitude",
    "Pattern",
    "Place",
    "Reach",
    "Sparsity",
    "Uniform",
    "reachable",
]
