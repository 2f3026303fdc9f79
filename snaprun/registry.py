"""The classes that a configuration chooses by name: the package's own, and those of plug-ins."""

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
    """The classes of one kind by the name that YAML uses; a name is given once.

    A class from outside comes in when its module enters it, as in `CELLS["mine"] = Mine`, or when
    an installed package announces it as the entry point `mine` of the group `snaprun.<kind>`, such
    as `snaprun.cells`; that one is imported when its name is first asked for.

    Raises UserError where a class is not of this kind, or its name is taken.
    """

    def __init__(self, kind: str, base: type[T], own: Mapping[str, type[T]]):
        self._kind, self._base = kind, base
        super().__init__(own)
        announced = entry_points(group=f"snaprun.{kind}")
        self._announced = {point.name: point for point in announced if point.name not in own}
        self.data |= dict.fromkeys(self._announced, base)  # until it is asked for

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
    """Import the modules called `plugins`, found from this folder or on Python's path.

    Raises UserError where one cannot be imported.
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
    except Exception as error:  # whatever a file of the user's raises
        said = " ".join(str(error).split())
        raise UserError(
            f"{what} cannot be imported: {type(error).__name__}: {said}. Expected a module of "
            "Python in this folder or on PYTHONPATH."
        ) from error
