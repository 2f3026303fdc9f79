"""The committed panels: what is derived is what the committed tables of runs give."""

from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir

from snaprun import config
from snaprun.metrics import BUILT_IN
from snaprun.panels import paired, report
from snaprun.panels.metric import final
from snaprun.paths import conf_dir
from snaprun.store import DIVERGED
from snaprun.store.panel import read_arms, read_rates, read_summaries, write_derived

SIX_DIGITS = 1e-5  # of the committed tables
RESULTS = Path(__file__).resolve().parents[2] / "results"
PANELS = sorted(file.parent.name for file in RESULTS.glob("*/panel.yaml"))


@pytest.mark.parametrize("name", PANELS)
def test_tests_and_readme_follow_from_the_committed_tables(name, tmp_path):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        keys = config.composed("reproduce", [f"panel={name}"])["panel"]
    panel, folder = config.panel(keys, "small"), RESULTS / name
    arms = read_arms(folder)
    readme = report.readme(panel, "small", read_rates(folder), read_summaries(folder), arms)
    for file in write_derived(tmp_path, paired.table(arms, panel.metric, panel.planned), readme):
        assert file.read_text(encoding="utf-8") == (folder / file.name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PANELS)
def test_final_values_follow_from_the_committed_curves(name):
    summaries: Any = read_summaries(RESULTS / name)
    runs = summaries[summaries["phase"] == "final"].set_index(["arm", "seed"])
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        metric = BUILT_IN[config.composed("reproduce", [f"panel={name}"])["panel"]["metric"]]
    found = 0
    for arm, of_seeds in read_arms(RESULTS / name).items():
        for seed, run in of_seeds.items():
            if run.status == DIVERGED:
                continue
            for key in (metric.key, *metric.beside):
                column = "final" if key == metric.key else f"final_{key}"
                if key in run.metrics and column in runs:
                    expected = runs.loc[(arm, seed), column]
                    assert final(run, BUILT_IN[key]) == pytest.approx(expected, rel=SIX_DIGITS)
                    found += 1
    assert found
