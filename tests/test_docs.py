"""What docstrings and pages show runs, and what the code has, the pages have too."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import docs_equations
import docs_source
import docs_tables
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

import snaprun
from snaprun.cli import _main
from snaprun.commands import COMMANDS
from snaprun.paths import conf_dir

PACKAGE = Path(snaprun.__file__).parent
MODULES = sorted(
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for file in PACKAGE.rglob("*.py")
)
PAGES = sorted(docs_source.DOCS.rglob("*.md"))
FENCED = re.compile(r'^```(\w+)(?: title="(.*?)")?\n(.*?)^```', re.M | re.S)
REGISTRIES = tuple(docs_tables.REGISTRIES.values())
USED = sorted(
    {kind for registry in REGISTRIES for kind in registry.values()}, key=lambda kind: kind.__name__
)


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_the_examples_of_a_module_run(name, here):
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.failed == 0


@pytest.mark.parametrize("kind", USED, ids=lambda kind: kind.__name__)
def test_what_a_configuration_chooses_shows_an_example(kind):
    assert ">>> " in (kind.__doc__ or "")


@pytest.mark.parametrize("module", [docs_equations, docs_source, docs_tables])
def test_the_examples_of_what_makes_the_site_run(module):
    assert doctest.testmod(module).failed == 0


def page_name(page):
    return str(page.relative_to(docs_source.DOCS))


@pytest.fixture
def shown(here):
    """Write the files that a page shows under their titles; return its other blocks of Python."""

    def written(page):
        found = FENCED.findall(page.read_text(encoding="utf-8"))
        for _, title, text in found:
            if title:
                (here / title).parent.mkdir(parents=True, exist_ok=True)
                (here / title).write_text(text)
        return [text for language, title, text in found if language == "python" and not title]

    return written


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text()], ids=page_name
)
def test_the_python_of_a_page_runs(page, shown):
    exec("\n".join(shown(page)), {})


def commands_of(page):
    """Return the words of every snaprun command in a block of a page."""
    text = page.read_text(encoding="utf-8")
    lines = re.findall(r"^ {4,}(snaprun .*)", text, re.M)
    for language, _, fenced in FENCED.findall(text):
        if language == "bash":
            lines += re.findall(r"^snaprun .*", fenced, re.M)
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=page_name)
def test_the_commands_of_a_page_compose(page, shown, here, capfd):
    shown(page)
    for command, *words in commands_of(page):
        if command not in COMMANDS or "--help" in words:
            assert _main([command, *words]) == 0
            continue
        keys = [word for word in words if "=" in word]
        if "--config-dir" in words:
            keys.append(f"hydra.searchpath=[file://{here}/conf]")
        # A search draws from an interval; here its beginning does.
        keys = [re.sub(r"=(?:tag\(log, *)?interval\(([^,]+),.*", r"=\1", key) for key in keys]
        parsed = OverridesParser.create().parse_overrides(keys)
        ((first, *_), *_) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            compose(command, list(first))


@pytest.mark.parametrize("file", sorted(conf_dir().glob("rule/*.yaml")), ids=lambda file: file.stem)
def test_every_rule_has_a_page_with_its_keys_and_its_cost(file):
    name = yaml.safe_load(file.read_text())["name"]
    text = (docs_source.DOCS / "rules" / f"{name}.md").read_text(encoding="utf-8")
    assert f"<!-- keys rule={name} -->" in text
    assert re.search(rf"<!-- cost .*\b{file.stem}\b.* -->", text) or file.stem == "snap"
    assert f"`{file.stem}`" in text or f"`rule={file.stem}`" in text
    for title in ("Cost", "When to use it", "Example"):
        assert f"\n## {title}\n" in text


def test_the_numbers_of_equations_in_the_code_are_those_of_the_page():
    page = (docs_source.DOCS / "mathematics.md").read_text(encoding="utf-8")
    numbers = re.findall(r"\\tag\{(\d)\}", page)
    assert numbers == [str(n) for n in range(1, 8)]
    assert re.findall(r'<a id="equation-(\d)"></a>', page) == numbers
    for file in PACKAGE.rglob("*.py"):
        cited = re.findall(r"equations? \((\d+)\)|(?:,| ) {2,}\((\d)\)$", file.read_text(), re.M)
        assert {a or b for a, b in cited} <= {*numbers}, file


def test_every_key_of_a_command_and_a_group_is_on_its_page():
    pages = dict(docs_tables.pages())
    index = (docs_source.DOCS / "reference" / "index.md").read_text(encoding="utf-8")
    assert all(f"(keys/{name}.md)" in index for name in pages)
    assert "`hydra.launcher.n_jobs`" in pages["hydra-launcher"]
    for name in COMMANDS:
        own = pages[f"snaprun-{name}"]
        page = docs_tables.MANUAL.page(name)
        groups = {group.path for group in page.groups}
        assert all(f"({group}.md)" in own and group in pages for group in groups)
        assert all(f"| `{x.path}` |" in own for x in page.keys if x.path not in groups)
    for group in ("cell", "optim", "readout", "rule", "sparsity", "task"):
        for choice in docs_tables.MANUAL.choices(group):
            said = pages[group].partition(f"## {group}={choice}\n")[2].partition("\n## ")[0]
            keys = docs_tables.MANUAL.chosen(group, choice).keys
            assert said
            assert [f"| `{key.path}` |" in said for key in keys] == [True] * len(keys)


def test_links_lead_to_what_the_site_has():
    def linked(text, page="docs/how-to/gpu.md"):
        return docs_source.linked(text, page, {"results/README.md", "CONTRIBUTING.md"})

    assert linked("[a](../../results/README.md#c1)") == "[a](../results/README.md#c1)"
    assert linked("[a](../tutorial/python.ipynb#b)") == "[a](../tutorial/python.md#b)"
    itself = "[a](python.ipynb)"
    assert linked(itself, "docs/tutorial/python.ipynb") == itself
    assert linked("![a](../../results/README.md)") == "![a](../results/README.md)"
    assert linked("[a](resume.md)") == "[a](resume.md)"
    assert linked("[a](https://x.org) [b](#c)") == "[a](https://x.org) [b](#c)"
    assert linked("[`a`](../../conf/train.yaml)") == "`a`"  # the site has no such page
    assert linked("[a](nowhere.md)") == "[a](nowhere.md)"  # for the builder to refuse
    contributing = linked("[a](docs/how-to/gpu.md) [b](README.md)", "CONTRIBUTING.md")
    assert contributing == "[a](how-to/gpu.md) b"


def test_equations_become_mathml_with_their_number():
    html = docs_equations.with_mathml(
        '<div class="arithmatex">\\[a &lt; b \\tag{5}\\]</div>'
        '<span class="arithmatex">\\(c\\)</span>'
    )
    assert html.count("<math ") == 2
    assert '<span class="number">(5)</span>' in html
    assert "\\" not in html
    assert "arithmatex" not in html
