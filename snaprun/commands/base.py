"""Keys that are read as they stand in the configuration."""

from collections.abc import Mapping
from typing import Any, Self

from snaprun import config


class FlatKeys:
    """A base of dataclasses whose fields are all the keys of a command, each of its type."""

    @classmethod
    def of(cls, plain: Mapping[str, Any], sweep: bool) -> Self:
        """The keys of a configuration, whether it is a job of a sweep or not; raises UserError."""
        del sweep
        own = {key: value for key, value in plain.items() if key != config.PLUGINS}
        return cls(**config.arguments("", cls, own))
