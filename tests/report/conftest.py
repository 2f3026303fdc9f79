"""Runs of a report, some of which carry names that must not become markup."""

import pytest

from snaprun.report import page
from tests.figures.runs import config, levels, write

MARKUP = "</script><script>document.title = 'owned'</script><img src=x onerror=alert(1)>"


@pytest.fixture
def without_pictures(monkeypatch):
    """No pictures, which take most of the time."""
    monkeypatch.setattr(page, "pictures", lambda parts: ([], True))


@pytest.fixture
def runs(tmp_path):
    """Three rules with two seeds, one run that stopped, one that diverged and a damaged one."""
    folder = tmp_path / "runs"
    for place, rule in enumerate(("bptt", "snap1", "frozen")):
        for seed in (0, 1):
            rows = levels((100, 1), (200, 2 + place), (300, 3 + 2 * place + seed))
            write(folder / f"{rule}-{seed}", made(rule, seed), rows)
    write(folder / "stopped", made("snap1", 2), levels((100, 1), (200, 9)), None)
    write(folder / "diverged", made("snap1", 3), levels((100, 1), (150, 2)), "diverged")
    write(folder / "damaged", made("snap1", 4), levels((100, 1)))
    (folder / "damaged" / "metrics.jsonl").write_text("{\n")
    return folder


def made(rule, seed):
    return config(rule, seed, task__text=MARKUP, train__tokens=300)
