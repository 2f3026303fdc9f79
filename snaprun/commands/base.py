"""The base of commands that read their keys unchanged from the configuration."""

from collections.abc import Mapping
from typing import Any, Self

from snaprun import config


class FlatKeys:
    """The base of dataclasses with a field for every key of a command, annotated with its type."""

    @classmethod
    def of(cls, plain: Mapping[str, Any], sweep: bool) -> Self:
        """Read the keys from a configuration; raises UserError if they are wrong."""
        del sweep
        own = {key: value for key, value in plain.items() if key != config.PLUGINS}
        return cls(**config.arguments("", cls, own))
