"""Gather the pages of the site in a folder: python scripts/docs_source.py [FOLDER] [--no-notebooks]

To docs/ it adds pages of keys for every command and group, from the YAML files; tables of keys and
costs where a page has a line such as `<!-- keys rule=snap -->`; the notebooks, which it runs; and
the pages of results, CONTRIBUTING, CHANGELOG and the C++ core, with what they show.
"""

import argparse
import posixpath
import re
import shutil
from collections.abc import Container, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import docs_tables
import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
INCLUDED = ("CONTRIBUTING.md", "CHANGELOG.md", "snaprun/native/README.md")
PANEL = re.compile(r"results/[^/]+/README\.md")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
TABLE = re.compile(r"^<!-- ((?:keys|cost|api) .*?) -->$", re.M)


def main() -> None:
    """Write the folder from nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "docs")
    parser.add_argument("--no-notebooks", action="store_true", help="do not run the notebooks")
    said = parser.parse_args()
    gather(said.folder, not said.no_notebooks)


def gather(folder: Path, run: bool) -> None:
    """Write all pages into `folder`, which is emptied first; `run`: run the notebooks."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS, folder)
    pages = {page: with_figures(page) for page in written()}
    shown = sorted(set(_shown(pages)))
    for path in shown:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / path)
    for page, text in pages.items():
        _write(folder / _place(page), linked(filled(text), page, {*pages, *shown}))
    for name, text in docs_tables.pages():
        _write(folder / "reference" / "keys" / f"{name}.md", text)
    for notebook in DOCS.rglob("*.ipynb"):
        page = str(notebook.relative_to(ROOT))
        text = _rendered(notebook, folder / _place(page), run)
        _write((folder / _place(page)).with_suffix(".md"), linked(text, page, {*pages, *shown}))
    shutil.copy(_font(), folder / "assets")


def written() -> list[str]:
    """Return the paths of all pages that the repository holds, from its root."""
    files = [*DOCS.rglob("*.md"), *ROOT.glob("results/*.md"), *ROOT.glob("results/*/README.md")]
    return [*INCLUDED, *sorted(str(file.relative_to(ROOT)) for file in files)]


def with_figures(page: str) -> str:
    """Return a page as it is written; that of a panel with those of its figures that it lacks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if not PANEL.fullmatch(page):
        return text
    figures = (
        f"figures/{file.name}" for file in sorted((ROOT / page).parent.glob("figures/*.png"))
    )
    more = [f"![{Path(figure).stem}]({figure})\n" for figure in figures if figure not in text]
    return "\n".join([text, *more])


def filled(markdown: str) -> str:
    """Return a page in which the tables stand that it asks for."""
    return TABLE.sub(lambda found: docs_tables.expanded(found[1]), markdown)


def linked(markdown: str, page: str, copied: Container[str]) -> str:
    """Return a page whose links lead to what the site has.

    A link to a notebook leads to its page, except from that page, which offers the notebook itself.
    A link to a file that only the repository has becomes text; one to no file stays as it is, for
    the builder to refuse.
    """

    def target(found: re.Match[str]) -> str:
        path, mark, anchor = found[3].partition("#")
        to = _resolved(page, path)
        if ":" in path or not path or not (ROOT / to).exists():
            return found[0]
        if to not in copied and not to.startswith("docs/"):
            return found[2]
        if to != page and to.endswith(".ipynb"):
            to = f"{to.removesuffix('.ipynb')}.md"
        there = posixpath.relpath(_place(to), posixpath.dirname(_place(page)) or ".")
        return f"{found[1]}[{found[2]}]({there}{mark}{anchor})"

    return LINK.sub(target, markdown)


def _shown(pages: Mapping[str, str]) -> Iterator[str]:
    """Yield the files in results/ that pages show or link, such as figures and tables."""
    for page, text in pages.items():
        for found in LINK.finditer(text):
            path = _resolved(page, found[3])
            if path.startswith("results/") and path not in pages and (ROOT / path).is_file():
                yield path


def _place(path: str) -> str:
    """Return the place of a repository's file in the site."""
    return path.removeprefix("docs/")


def _resolved(page: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _rendered(notebook: Path, place: Path, run: bool) -> str:
    """Return a notebook as a page; if it is run, with its outputs and figures beside `place`."""
    contents = nbformat.read(notebook, as_version=4)
    if run:
        _run(contents)
    text, resources = MarkdownExporter().from_notebook_node(
        contents, {"output_files_dir": f"{place.stem}_files", "unique_key": place.stem}
    )
    for name, content in resources["outputs"].items():
        (place.parent / name).parent.mkdir(exist_ok=True)
        (place.parent / name).write_bytes(content)
    text = text.replace('<table border="1" class="dataframe">', "<table>")  # as the site's own
    title, _, rest = text.strip().partition("\n")
    note = f"*A notebook, which ran when this site was built: [download it]({notebook.name}).*"
    return f"{title}\n\n{note}\n{rest}\n"


def _run(contents: nbformat.NotebookNode) -> None:
    """Run a notebook in a folder of its own."""
    with TemporaryDirectory() as place:
        NotebookClient(
            contents,
            timeout=300,  # seconds a cell
            extra_arguments=["--log-level=ERROR"],  # without a warning of the local connection
            resources={"metadata": {"path": place}},
        ).execute()


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
