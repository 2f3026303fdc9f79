"""The keys of a configuration are the keyword arguments of what it configures; all are checked."""

import contextlib
import inspect
import types
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from snaprun import checks


def arguments(
    where: str, target: Any, values: Mapping[str, Any], beside: Collection[str] = ()
) -> dict[str, Any]:
    """Check `values` against `target`'s keyword arguments and return them as the annotated types.

    `where` is the group that holds the values, "" at the top level. `beside` lists other keys
    that are accepted there, for the message. Raises UserError for an unknown or missing key or a
    wrong type.
    """
    parameters = inspect.signature(target, eval_str=True).parameters
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in parameters:
            accepted = [prefix + name for name in (*beside, *parameters)] or ["none"]
            raise checks.UserError(no_key(prefix + key, accepted))
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in values:
            raise checks.UserError(f"{prefix}{name} is missing: expected a value.")
    return {
        key: converted(prefix + key, value, parameters[key].annotation)
        for key, value in values.items()
    }


def converted(what: str, value: Any, annotation: Any) -> Any:
    """Return `value` as the annotated type; an integral float (1e6) is accepted for an int.

    Raises UserError, which names the key `what`, if `value` has another type.
    """
    if annotation is inspect.Parameter.empty:  # of a plug-in's constructor
        return value
    union = get_origin(annotation) in (Union, types.UnionType)
    options = get_args(annotation) if union else (annotation,)
    for option in options:
        if get_origin(option) is Literal and value in get_args(option):
            return value
        kind = isinstance(option, type) and option not in (int, float)
        if kind and isinstance(value, option):
            return value
        number = isinstance(value, int | float) and not isinstance(value, bool)
        whole = isinstance(value, int) or (number and value.is_integer())
        if number and (option is float or (option is int and whole)):
            with contextlib.suppress(OverflowError):  # an integer too large for a float
                return option(value)
    checks.refuse(what, value, " or ".join(map(_described, options)))


def _described(option: Any) -> str:
    words: dict[Any, str] = {
        int: "an integer",
        float: "a number",
        bool: "true or false",
        str: "a string",
        list: "a list",
        tuple: "a tuple",
        dict: "a mapping",
        type(None): "null",
    }
    if get_origin(option) is Literal:
        return "one of " + ", ".join(map(str, get_args(option)))
    return words.get(option, str(option))


def no_key(key: str, accepted: Sequence[str], remedy: str = "") -> str:
    """Returns one line that names the accepted keys, and a near one, beside an unknown key.

    `remedy` replaces the near one.
    """
    listed = f": accepted are {', '.join(accepted)}" if accepted else ""
    return f"{key} is not a key here{listed}. {remedy or checks.near(key, accepted)}".rstrip()
