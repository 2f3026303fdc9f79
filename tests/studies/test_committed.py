"""The committed panels: their runs keep their names, and tables give what is derived from them."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir

from snaprun import config, studies
from snaprun.paths import conf_dir
from snaprun.store import DIVERGED, Run
from snaprun.store.panel import read_arms, read_metrics, read_rates, read_summaries, write_derived
from snaprun.studies import paired, report
from snaprun.studies.metric import final
from snaprun.studies.plan import SELECTION

SIX_DIGITS = 1e-5  # of the committed tables
RESULTS = Path(__file__).resolve().parents[2] / "results"
PANELS = sorted(file.parent.name for file in RESULTS.glob("*/panel.yaml"))


@cache
def composed(name: str) -> dict[str, Any]:
    """The keys of a panel."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return config.composed("reproduce", [f"panel={name}"])["panel"]


@cache
def arms_of(name: str) -> dict[str, dict[int, Run]]:
    """The committed runs of a panel, which no test changes."""
    return read_arms(RESULTS / name)


def named(name: str, phase: str) -> dict[tuple[str, int, float], str]:
    """The hashes at the ends of the names of a panel's runs, by arm, seed and learning rate."""
    table: Any = read_summaries(RESULTS / name)
    rows = table[table["phase"] == phase].itertuples()
    return {(row.arm, row.seed, row.lr): row.config for row in rows}


@pytest.mark.parametrize("name", PANELS)
def test_the_committed_configurations_have_the_committed_names(name):
    runs = named(name, "final")
    assert runs
    for arm, of_seeds in arms_of(name).items():
        for seed, run in of_seeds.items():
            lr = run.config["optim"]["lr"]
            assert config.run_id(run.config).rpartition("-")[2] == runs[arm, seed, lr]


@pytest.mark.parametrize("name", PANELS)
def test_the_panels_of_today_find_the_committed_runs(name):
    keys = composed(name)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        planner = studies.Planner(
            config.panel(keys, "small"),
            "small",
            (),
            compose=lambda overrides: config.composed("train", overrides),
            place=config.run_folder,
        )
        jobs = planner.final(read_rates(RESULTS / name))
    assert {(job.arm, job.seed, job.lr): job.folder.name[-8:] for job in jobs} == named(
        name, "final"
    )


@pytest.mark.parametrize("name", sorted({*PANELS} - {"copy_gru256"}))  # whose trials log otherwise
def test_runs_of_before_there_was_an_average_keep_their_names(name):
    arms, trials = arms_of(name), named(name, SELECTION)
    for arm, seed, lr in trials:
        plain = next(iter(arms[arm].values())).config
        plain = {**plain, "seed": seed, "optim": {**plain["optim"], "lr": lr}}
        plain["train"] = {**plain["train"], "average": None}
        assert config.run_id(plain).rpartition("-")[2] == trials[arm, seed, lr]


@pytest.mark.parametrize("name", PANELS)
def test_tests_and_readme_follow_from_the_committed_tables(name, tmp_path):
    panel, folder = config.panel(composed(name), "small"), RESULTS / name
    arms = arms_of(name)
    readme = report.readme(panel, "small", read_rates(folder), read_summaries(folder), arms)
    for file in write_derived(tmp_path, paired.compare(arms, panel.metric, panel.planned), readme):
        assert file.read_text(encoding="utf-8") == (folder / file.name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PANELS)
def test_final_values_follow_from_the_committed_curves(name):
    summaries: Any = read_summaries(RESULTS / name)
    runs = summaries[summaries["phase"] == "final"].set_index(["arm", "seed"])
    metrics = read_metrics(RESULTS / name)
    metric = metrics[composed(name)["metric"]]
    found = 0
    for arm, of_seeds in arms_of(name).items():
        for seed, run in of_seeds.items():
            if run.status == DIVERGED:
                continue
            for key in (metric.key, *metric.beside):
                column = "final" if key == metric.key else f"final_{key}"
                if key in run.metrics and column in runs:
                    expected = runs.loc[(arm, seed), column]
                    assert final(run, metrics[key]) == pytest.approx(expected, rel=SIX_DIGITS)
                    found += 1
    assert found
