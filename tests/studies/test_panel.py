"""What a budget changes of a panel, and where its runs lie."""

from functools import partial

import pytest
from hydra import initialize_config_dir

from snaprun import config
from snaprun.checks import UserError
from snaprun.paths import conf_dir
from snaprun.studies import Panel, Planner, Selection, under

PANEL = {
    "rates": {"a": [1e-3], "others": [1e-2]},
    "overrides": ["sparsity=dense"],
    "selection": {"seeds": [100], "overrides": []},
    "budgets": {
        "small": {},
        "full": {
            "rates": {"a": [1e-4]},
            "overrides": ["train.tokens=9"],
            "selection": {"overrides": ["train.tokens=3"]},
        },
    },
}


def test_a_budget_replaces_keys_and_adds_overrides():
    rest = {key: value for key, value in PANEL.items() if key != "budgets"}
    assert under(PANEL, "small") == rest
    assert under(PANEL, "full") == {
        "rates": {"a": [1e-4], "others": [1e-2]},
        "overrides": ["sparsity=dense", "train.tokens=9"],
        "selection": {"seeds": [100], "overrides": ["train.tokens=3"]},
    }


@pytest.mark.parametrize("wrong", ["sparsity=dense", 3, {"sparsity": "dense"}])
def test_overrides_that_are_no_list_are_not_lost_under_those_of_a_budget(wrong):
    with pytest.raises(UserError, match="expected a list of overrides"):
        under({**PANEL, "overrides": wrong}, "full")
    assert under({**PANEL, "overrides": None}, "full")["overrides"] == ["train.tokens=9"]


@pytest.mark.parametrize(
    ("seeds", "rates", "named"),
    [
        ([100, 101, 100], [1e-2], r"panel\.selection\.seeds of a=\[100, 101, 100\]"),
        ([100], [1e-2, 1e-3, 0.01], r"panel\.rates of a="),
    ],
)
def test_a_seed_or_a_rate_that_is_there_twice_is_refused(seeds, rates, named):
    with pytest.raises(UserError, match=f"{named}.* each once"):
        Panel("p", "about", {"a": []}, "level", rates, Selection(seeds), 1)


def test_fresh_seeds_count_from_the_first_one_and_have_chosen_nothing():
    def panel(trials, first):
        words = ("p", "about", {"a": []}, "level", [1e-2], Selection(trials), 3)
        return Panel(*words, first_seed=first)

    assert list(panel([100], 0).seeds["a"]) == [0, 1, 2]
    assert list(panel([0, 9, 13], 10).seeds["a"]) == [10, 11, 12]
    for trials in ([12], [0, 10], [-1]):
        with pytest.raises(UserError, match="seeds ≥ 0 outside 10 to 12"):
            panel(trials, 10)
    with pytest.raises(UserError, match=r"panel\.first_seed=-1"):
        panel([100], -1)


def planned(pairs):
    arms = {"a": [], "b": [], "c": None}
    return Panel("p", "", arms, "level", [1e-2], Selection([100]), 3, planned=pairs).planned


def test_planned_pairs_lack_those_of_arms_that_are_left_out():
    assert planned([["b", "a"], ["a", "c"]]) == (("b", "a"),)
    assert planned(None) == planned([]) == ()


@pytest.mark.parametrize(
    ("wrong", "accepted"),
    [
        ("ab", "a list of pairs of arms"),
        ([["a"]], "a list of pairs of arms"),
        ([["a", "a"]], "a list of pairs of arms"),
        ([["a", "d"]], "a, b, c"),
        ([["a", "b"], ["b", "a"]], "each once"),
    ],
)
def test_pairs_that_cannot_be_planned_are_refused(wrong, accepted):
    with pytest.raises(UserError, match=rf"panel\.planned=.*{accepted}"):
        planned(wrong)


@pytest.mark.parametrize("rate", [1, 1.0, 0.01])
def test_a_planned_run_lies_where_its_own_command_puts_it(rate):
    panel = Panel("p", "about", {"a": ["rule=bptt"]}, "level", [rate], Selection([100]), 1)
    common = ["results=runs"]
    compose = partial(config.composed, "train")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        (job,) = Planner(panel, "small", common, compose, config.run_folder).final({"a": rate})
        words = [word for word in job.words if not word.startswith("hydra.")]
        assert config.run_folder(compose(words)) == job.folder
