"""Gather the pages of the site in a folder: python scripts/docs_source.py [FOLDER] [--no-notebooks]

To docs/ it adds pages of keys for every command and group, from the YAML files; tables of keys and
costs where a page has a line such as `<!-- keys rule=snap -->`; the notebooks, which it runs; and
the pages of results, CONTRIBUTING, CHANGELOG and the C++ core, with what they show.
"""

import argparse
import posixpath
import re
import shutil
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import docs_tables
import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
INCLUDED = ("CONTRIBUTING.md", "CHANGELOG.md", "snaprun/native/README.md")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
TABLE = re.compile(r"^<!-- ((?:keys|cost) .*?) -->$", re.M)


def main() -> None:
    """Write the folder anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "docs")
    parser.add_argument("--no-notebooks", action="store_true", help="do not run the notebooks")
    said = parser.parse_args()
    gather(said.folder, not said.no_notebooks)


def gather(folder: Path, run: bool) -> None:
    """Write all pages into `folder`, which is emptied first; `run`: run the notebooks."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS, folder)
    for page in folder.rglob("*.md"):
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
    for notebook in folder.rglob("*.ipynb"):
        _render(notebook, run)
    for name, text in docs_tables.pages():
        _write(folder / "reference" / "keys" / f"{name}.md", text)
    pages, shown = included()
    for path in shown:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / path)
    for path in pages:
        text = (ROOT / path).read_text(encoding="utf-8")
        _write(folder / path, linked(text, path, [*pages, *shown]))
    shutil.copy(_font(), folder / "assets")


def filled(markdown: str) -> str:
    """Return a page in which the tables stand that it asks for."""
    return TABLE.sub(lambda found: docs_tables.expanded(found[1]), markdown)


def included() -> tuple[list[str], list[str]]:
    """Return the paths of the included pages, and of the files that the pages of results show."""
    results = [*ROOT.glob("results/*.md"), *ROOT.glob("results/*/README.md")]
    pages = [*INCLUDED, *sorted(str(file.relative_to(ROOT)) for file in results)]
    linked = {path for page in pages for path in _targets(page)}
    shown = (path for path in linked if path.startswith("results/") and not path.endswith(".md"))
    return pages, sorted(path for path in shown if (ROOT / path).is_file())


def linked(markdown: str, page: str, copied: Iterable[str]) -> str:
    """Return an included page whose links lead to what the site has; the others become text."""

    def target(found: re.Match[str]) -> str:
        path, mark, anchor = found[3].partition("#")
        if ":" in path or not path:
            return found[0]
        place = _resolved(page, path)
        own = place.removeprefix("docs/")
        if place not in copied and not (own != place and (ROOT / place).is_file()):
            return found[2]
        there = posixpath.relpath(own, posixpath.dirname(page) or ".")
        return f"{found[1]}[{found[2]}]({there}{mark}{anchor})"

    return LINK.sub(target, markdown)


def _targets(page: str) -> Iterator[str]:
    for found in LINK.finditer((ROOT / page).read_text(encoding="utf-8")):
        yield _resolved(page, found[3])


def _resolved(page: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _render(notebook: Path, run: bool) -> None:
    """Write a notebook as a page beside it, with its outputs if it is run."""
    contents = nbformat.read(notebook, as_version=4)
    if run:
        NotebookClient(contents, timeout=120, resources={"metadata": {"path": "/tmp"}}).execute()
    text, resources = MarkdownExporter().from_notebook_node(
        contents, {"output_files_dir": f"{notebook.stem}_files", "unique_key": notebook.stem}
    )
    for name, content in resources["outputs"].items():
        (notebook.parent / name).parent.mkdir(exist_ok=True)
        (notebook.parent / name).write_bytes(content)
    title, _, rest = text.strip().partition("\n")
    note = f"*This page is a notebook that ran when the site was built: [download it]({notebook.name}).*"
    _write(notebook.with_suffix(".md"), f"{title}\n\n{note}\n{rest}\n")


def _font() -> Path:
    """Return a font with the tables that MathML needs, under the SIL Open Font License."""
    spec = find_spec("ziamath")  # which comes with it
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "fonts" / "STIXTwoMath-Regular.ttf"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
