"""The classes that a configuration chooses by name, from this package and from plug-ins."""

import importlib
import os
import sys
from collections import UserDict
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import TypeVar

from snaprun.checks import UserError, refuse

T = TypeVar("T")


class Registry(UserDict[str, type[T]]):
    """Maps the names that YAML uses to the classes of one kind; each name has one class.

    A plug-in module adds its own class as `CELLS["mine"] = Mine`. An installed package adds a
    class as the entry point `mine` of the group `snaprun.<kind>`, such as `snaprun.cells`; the
    registry imports that class when its name is first looked up.

    Raises UserError if a class is not of this kind or its name is taken.

    >>> from snaprun.cells import CELLS, Vanilla
    >>> class Mine(Vanilla):
    ...     "A cell of my own."
    >>> CELLS["mine"] = Mine
    >>> CELLS["mine"]().components
    1
    >>> del CELLS["mine"]
    """

    def __init__(self, kind: str, base: type[T], own: Mapping[str, type[T]]):
        self._kind, self._base = kind, base
        super().__init__(own)
        announced = entry_points(group=f"snaprun.{kind}")
        self._announced = {point.name: point for point in announced if point.name not in own}
        self.data |= dict.fromkeys(self._announced, base)  # until it is looked up

    def __getitem__(self, name: str) -> type[T]:
        if point := self._announced.pop(name, None):
            del self.data[name]
            self[name] = _imported(f"the plug-in {point.value}", point.load)
        return super().__getitem__(name)

    def __setitem__(self, name: str, kind: type[T]) -> None:
        if not (isinstance(kind, type) and issubclass(kind, self._base)):
            refuse(f"{self._kind}.{name}", kind, f"a subclass of {self._base.__name__}")
        if self.data.get(name, kind) is not kind:
            refuse(f"{self._kind}.{name}", kind, "a name that is not taken", "Choose another one.")
        super().__setitem__(name, kind)


def load(plugins: object) -> None:
    """Imports the modules named in `plugins`, from this folder or from Python's path.

    Raises UserError if `plugins` is not a list of names or a module cannot be imported.
    """
    if not isinstance(plugins, list) or not all(isinstance(name, str) for name in plugins):
        refuse("plugins", plugins, "a list of modules, such as [my_module]")
    before = list(sys.path)
    sys.path.append(os.getcwd())
    try:
        for name in plugins:
            _imported(f"plugins={name}", lambda name=name: importlib.import_module(name))
    finally:
        sys.path[:] = before


def _imported(what: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except UserError:
        raise
    except Exception as error:  # a user's file may raise anything
        said = " ".join(str(error).split())
        raise UserError(
            f"{what} cannot be imported: {type(error).__name__}: {said}. Expected a module of "
            "Python in this folder or on PYTHONPATH."
        ) from error
