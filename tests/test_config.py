"""From configuration to objects: types, keys, and the name of a run."""

from functools import reduce
from operator import getitem
from typing import Literal

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st

from snaprun import config, explain, identity
from snaprun.checks import UserError
from snaprun.paths import conf_dir
from snaprun.rules import RULES
from snaprun.tasks import TASKS


def composed(*overrides: str) -> dict:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return config.resolve(compose("train", list(overrides)))


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (3, int, 3),
        (1e6, int, 1_000_000),
        (3, float, 3.0),
        (None, int | None, None),
        (4.0, int | None, 4),
        ("sequence", int | Literal["sequence"], "sequence"),
        (7, int | Literal["sequence"], 7),
        (True, bool, True),
        ("x", str | None, "x"),
        ([1], list, [1]),
    ],
)
def test_conversions(value, annotation, expected):
    got = config.converted("key", value, annotation)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1.5, int),
        (float("inf"), int),
        (float("nan"), int),
        (True, int),
        (True, float),
        (1, bool),
        ("3", int),
        (None, int),
        (3, str),
        ("often", int | Literal["sequence"]),
        ("abc", list),
        ({}, int),
    ],
)
def test_wrong_types_are_refused(value, annotation):
    with pytest.raises(UserError, match="key="):
        config.converted("key", value, annotation)


@given(st.integers(-(2**62), 2**62))
def test_every_integer_is_kept_as_it_is(value):
    assert config.converted("key", value, int) == value


def test_the_run_id_tells_the_choices_and_depends_on_all_that_is_computed():
    plain = composed("rule=snap2", "cell=lstm", "cell.units=32", "seed=7")
    name = config.run_id(plain)
    assert name.startswith("copy-lstm32-uniform0.75-snap2-every1-seed7-")
    assert "=" not in name
    assert config.run_id(composed("rule=snap2", "cell=lstm", "cell.units=32", "seed=7")) == name
    for same in ("results=elsewhere", "name=other", "tensorboard=true", "train.strict=true"):
        again = composed("rule=snap2", "cell=lstm", "cell.units=32", "seed=7", same)
        assert config.run_id(again) == name
    before = {**plain, "train": {k: v for k, v in plain["train"].items() if k != "average"}}
    assert config.run_id(before) == name  # a run from when there was no such key
    others = [
        "train.average=0.999",
        "seed=8",
        "optim.lr=0.002",
        "train.lanes=3",
        "readout.hidden=7",
        "dtype=float64",
    ]
    names = {config.run_id(composed("rule=snap2", "cell=lstm", "cell.units=32", o)) for o in others}
    assert len(names | {name}) == len(others) + 1


def test_the_run_id_of_a_stack():
    one = composed("cell.units=8")
    assert one["cell"]["layers"] == 1
    before = {**one, "cell": {k: v for k, v in one["cell"].items() if k != "layers"}}
    names = [config.run_id(one)]
    assert config.run_id(before) == names[0]  # a run from when there were no layers
    assert config.run_id(composed("cell.units=[8]")) == names[0]
    for same, words in (
        (
            (("cell.units=8", "cell.layers=2"), ("cell.units=[8,8]",), ("cell.units=[8.0,8]",)),
            "8x2",
        ),
        ((("cell.units=[8,4]",), ("cell.units=[8,4]", "cell.layers=2")), "8.4"),
        ((("cell.units=[4,8]",),), "4.8"),
    ):
        found = {config.run_id(composed(*choices)) for choices in same}
        assert len(found) == 1
        names += found
        assert f"-gru{words}-" in names[-1]
    assert len(set(names)) == 4


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layers", 1),
        ("cell.peephole", False),
        ("train.warmup", None),
        ("loss", {"name": "softmax", "smoothing": 0}),
    ],
)
def test_a_later_key_at_its_old_value_leaves_the_run_its_name(key, value, monkeypatch):
    plain, other, same = composed(), composed(f"++{key}=x"), composed(f"++{key}=x")
    *groups, name = key.split(".")
    reduce(getitem, groups, same)[name] = value
    before = [config.run_id(made) for made in (plain, other, same)]
    assert len(set(before)) == 3
    monkeypatch.setitem(identity.LATER, key, value)
    assert [config.run_id(made) for made in (plain, other, same)] == [*before[:2], before[0]]


def test_the_run_folder_stays_inside_the_results():
    plain = composed()
    assert config.run_folder(plain).parent.as_posix() == "results/copy"
    for name in ("..", "a/b", "", "x" * 101, ".hidden", "a\nb"):
        with pytest.raises(UserError):
            config.run_folder({**plain, "name": name})


@pytest.mark.parametrize("group", ["cell", "rule", "sparsity", "readout", "optim", "task"])
def test_every_choice_of_every_group_builds(group):
    choices = [file.stem for file in (conf_dir() / group).glob("*.yaml")]
    assert choices
    for choice in choices:
        config.parts(composed(f"{group}={choice}"))


def test_every_registered_name_has_a_yaml_file():
    for group, registry in (("rule", RULES), ("task", TASKS)):
        files = {file.stem for file in (conf_dir() / group).glob("*.yaml")}
        assert set(registry) <= files


@pytest.mark.parametrize("app", [file.stem for file in conf_dir().glob("*.yaml")])
def test_every_key_of_a_contents_page_has_a_comment(app):
    own = (conf_dir() / f"{app}.yaml").read_text().partition("hydra:\n")[0]
    keys = [line for line in own.splitlines() if ": " in line and not line.startswith(("#", " "))]
    assert keys
    assert all("#" in line for line in keys), [line for line in keys if "#" not in line]


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1))
@example("null")
@example("Inf")
@example("1e3")
@example("a\\'")
@example("/runs/two-of.them")
def test_a_quoted_text_is_read_as_that_text(text):
    word = f"results={config.quoted(text)}"
    assert OverridesParser.create().parse_override(word).value() == text


def test_a_key_that_an_experiment_adds_to_another_choice_may_be_deleted():
    explain.refuse_deletions("train", ["cell=gru", "~cell.tau_m"])
    with pytest.raises(UserError, match=r"cell.tau_m=VALUE"):
        explain.refuse_deletions("train", ["cell=alif", "~cell.tau_m"])
