"""An extension of griffe: docstrings and comments of classes, as the site shows them."""

import re

from griffe import Docstring, Extension, Object

EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.M)  # up to an empty line
COMMENT = re.compile(r"  # (.*)$")


class Examples(Extension):
    """Puts fences around examples, and takes the comment behind an attribute as its docstring."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.is_attribute and not obj.docstring and (said := COMMENT.search(obj.source)):
            obj.docstring = Docstring(f"{said[1]}.", parent=obj)
        if obj.docstring:
            # Markdown would take the examples for quotes.
            obj.docstring.value = EXAMPLE.sub(
                lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value
            )
