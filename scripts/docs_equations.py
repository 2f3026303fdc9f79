"""An extension of Python-Markdown: equations become MathML, so that pages need no script for them.

It follows pymdownx.arithmatex, which finds the equations.
"""

import re
from html import unescape

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.postprocessors import Postprocessor

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.S)
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.S)
TAG = re.compile(r"\\tag\{(.*?)\}")
TIGHT = re.compile(r"<mo>(&#x000(?:2F|7C);)</mo>")  # / and |, which browsers set apart


def with_mathml(html: str) -> str:
    r"""Return a page in which the equations that arithmatex has found are MathML.

    >>> with_mathml(r'<span class="arithmatex">\(x\)</span>')[-30:]
    '<mrow><mi>x</mi></mrow></math>'
    """
    return BLOCK.sub(_block, INLINE.sub(lambda found: _mathml(found[1], "inline"), html))


def _block(found: re.Match[str]) -> str:
    number = TAG.search(found[1])
    shown = "" if number is None else f'<span class="number">({number[1]})</span>'
    return f'<div class="equation">{_mathml(TAG.sub("", found[1]), "block")}{shown}</div>'


def _mathml(latex: str, display: str) -> str:
    made = convert(unescape(latex).strip(), display=display)
    return TIGHT.sub(r'<mo lspace="0" rspace="0">\1</mo>', made)


class _Equations(Postprocessor):
    def run(self, text: str) -> str:
        return with_mathml(text)


class Equations(Extension):
    """Turns what arithmatex has found into MathML, after Markdown has put raw HTML back."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Register the postprocessor."""
        md.postprocessors.register(_Equations(md), "mathml", priority=0)


def makeExtension(**options: object) -> Extension:
    """Return the extension, as Python-Markdown asks for it."""
    return Equations(**options)
