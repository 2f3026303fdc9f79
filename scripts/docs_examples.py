"""An extension of griffe: the examples of docstrings become blocks of code on the site."""

import re

from griffe import Extension, Object

EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.M)  # up to an empty line


class Examples(Extension):
    """Puts fences around the examples of every docstring, which Markdown would take for quotes."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(
                lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value
            )
