"""The classes that a configuration chooses by name, from this package and from plug-ins."""

import importlib
import os
import re
import sys
from collections import UserDict
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from pkgutil import iter_modules
from typing import TypeVar

from snaprun.checks import UserError, refuse

T = TypeVar("T")


class Registry(UserDict[str, type[T]]):
    """Maps the names that YAML uses to the classes of one kind; each name has one class.

    A further file of the `package` that holds one class of the kind adds it by the name of the
    file. A plug-in module adds its own class as `CELLS["mine"] = Mine`. An installed package adds a
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

    def __init__(self, kind: str, base: type[T], own: Mapping[str, type[T]], package: str = ""):
        self._kind, self._base = kind, base
        self._announced: dict[str, EntryPoint] = {}
        super().__init__(own)
        if package:
            self._find(package)
        announced = entry_points(group=f"snaprun.{kind}")
        self._announced = {point.name: point for point in announced if point.name not in self.data}
        self.data |= dict.fromkeys(self._announced, base)  # until it is looked up

    def __getitem__(self, name: str) -> type[T]:
        if point := self._announced.get(name):
            self.data[name] = self._fit(name, _imported(f"the plug-in {point.value}", point.load))
            del self._announced[name]
        return super().__getitem__(name)

    def __setitem__(self, name: str, kind: type[T]) -> None:
        if self.data.get(name, kind) is not kind:
            refuse(f"{self._kind}.{name}", kind, "a name that is not taken", "Choose another one.")
        super().__setitem__(name, self._fit(name, kind))

    def _find(self, package: str) -> None:
        """Adds the class of every further file of a package, by the name of the file."""
        for file in iter_modules(sys.modules[package].__path__):
            module = importlib.import_module(f"{package}.{file.name}")
            for kind in vars(module).values():
                ours = isinstance(kind, type) and kind.__module__ == module.__name__
                known = kind in self.data.values()
                if ours and issubclass(kind, self._base) and not (known or isabstract(kind)):
                    self[file.name] = kind

    def name_of(self, made: object) -> str:
        """Returns the name of an object's own class, or "" if it is not there."""
        return next((name for name, kind in self.data.items() if kind is type(made)), "")

    def _fit(self, name: str, kind: type[T]) -> type[T]:
        """Returns `kind`; raises UserError unless it is a class of this kind, of a good name."""
        whole = isinstance(kind, type) and issubclass(kind, self._base) and not isabstract(kind)
        if not whole:
            accepted = f"a subclass of {self._base.__name__} that lacks no method"
            refuse(f"{self._kind}.{name}", kind, accepted)
        if not (isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name)):
            refuse(f"{self._kind}", name, "a name of small letters, digits and _")
        return kind


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
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        said = " ".join(str(error).split())
        remedy = ""
        if isinstance(error, ModuleNotFoundError):
            remedy = " Expected a module of Python in this folder or on PYTHONPATH."
        raise UserError(
            f"{what} cannot be imported: {type(error).__name__}: {said}.{remedy}"
        ) from error
