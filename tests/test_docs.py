"""What the docstrings show runs, and users' own classes each show how they are used."""

import doctest
import importlib
from pathlib import Path

import pytest

import snaprun
from snaprun.cells import CELLS
from snaprun.engine.optim import OPTIMISERS
from snaprun.losses import LOSSES
from snaprun.rules import RULES
from snaprun.sparsity import SPARSITIES
from snaprun.tasks import TASKS

PACKAGE = Path(snaprun.__file__).parent
MODULES = sorted(
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for file in PACKAGE.rglob("*.py")
)
REGISTRIES = (CELLS, LOSSES, OPTIMISERS, RULES, SPARSITIES, TASKS)
USED = sorted(
    {kind for registry in REGISTRIES for kind in registry.values()}, key=lambda kind: kind.__name__
)


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_the_examples_of_a_module_run(name, here):
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.failed == 0


@pytest.mark.parametrize("kind", USED, ids=lambda kind: kind.__name__)
def test_what_a_configuration_chooses_shows_an_example(kind):
    assert ">>> " in (kind.__doc__ or "")
