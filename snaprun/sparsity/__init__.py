"""Masks say which weights are live, a layout their packed order, and a pattern what they reach."""

from snaprun.registry import Registry
from snaprun.sparsity.deepr import DeepR
from snaprun.sparsity.layout import Layer, Layout
from snaprun.sparsity.magnitude import Magnitude
from snaprun.sparsity.masks import Dense, Diagonal, Sparsity, Uniform
from snaprun.sparsity.pattern import Pattern, Place, reachable
from snaprun.sparsity.reach import Reach

SPARSITIES = Registry(
    "sparsities",
    Sparsity,
    {
        "uniform": Uniform,
        "dense": Dense,
        "diagonal": Diagonal,
        "magnitude": Magnitude,
        "deepr": DeepR,
    },
)

__all__ = [
    "SPARSITIES",
    "DeepR",
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
