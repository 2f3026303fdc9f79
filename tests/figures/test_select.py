"""Which runs are drawn, in which panel, under which name."""

import logging

import pytest

from snaprun.checks import UserError
from snaprun.figures import style, words
from snaprun.figures.select import load
from tests.figures.runs import RULES, config, levels, write, write_panel

ROWS = levels((10, 1), (20, 2))


def sheet(source, configs):
    for number, made in enumerate(configs):
        write(source / str(number), made, ROWS)
    (only,) = load([source], incomplete=False)
    return only


def labels(facet):
    return [series.label for series in facet.series]


def test_seven_rules_on_three_cells_are_three_panels(tmp_path):
    made = [config(rule, cell__name=cell) for cell in ("lstm", "vanilla", "gru") for rule in RULES]
    only = sheet(tmp_path, made)
    names = ["BPTT", "RTRL", "SnAp-1", "SnAp-2", "UORO", "RFLO", "frozen"]
    assert [(facet.title, labels(facet)) for facet in only.facets] == [
        ("vanilla-24, 75 % sparse", names),
        ("GRU-24, 75 % sparse", names),
        ("LSTM-24, 75 % sparse", names),
    ]


def test_seeds_and_keys_that_change_nothing_share_a_series(tmp_path):
    made = [
        config(seed=2),
        config(seed=0, name="elsewhere", results="/else", tensorboard=True),
        config(seed=1, train__log_every=99),
    ]
    (series,) = sheet(tmp_path, made).facets[0].series
    assert [run.config["seed"] for run in series.runs] == [0, 1, 2]
    assert series.label == "SnAp-1"


def test_a_stack_is_another_network_and_one_layer_is_what_it_was(tmp_path):
    made = [
        *(config(rule, seed=0) for rule in ("snap1", "bptt")),  # from when there were no layers
        *(config(rule, seed=1, cell__layers=1) for rule in ("snap1", "bptt")),
        *(config(rule, cell__layers=2) for rule in ("snap1", "bptt")),
        *(config(rule, cell__layers=2, cell__units=[24, 8]) for rule in ("snap1", "bptt")),
    ]
    facets = sheet(tmp_path, made).facets
    titles = ["GRU-24, 75 % sparse", "GRU-24 × 2, 75 % sparse", "GRU-[24, 8], 75 % sparse"]
    assert [facet.title for facet in facets] == titles
    assert [len(series.runs) for facet in facets for series in facet.series] == [2, 2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("rule", "changes", "label"),
    [
        ("bptt", {}, "BPTT"),
        ("bptt", {"train__update_every": 1}, "TBPTT(1)"),
        ("bptt", {"train__update_every": 16}, "TBPTT(16)"),
        ("bptt", {"rule__memory": 0.05}, "BPTT, 5 % of the tape"),
        (
            "bptt",
            {"rule__memory": "9kB", "rule__policy": "hidden"},
            "BPTT, 9kB of the tape (hidden)",
        ),
        ("bptt", {"rule__memory": None, "rule__policy": "mixed"}, "BPTT"),
        ("bptt", {"rule__truncate": 5}, "BPTT cut every 5"),
        ("bptt", {"rule__truncate": 5, "train__update_every": 20}, "TBPTT(20) cut every 5"),
        ("snap1", {"rule__n": 4}, "SnAp-4"),
        ("rflo", {}, "RFLO"),
        ("rflo", {"rule__feedback": "random"}, "RFLO (random feedback)"),
        ("uoro", {"rule__name": "kf-rtrl"}, "kf-rtrl"),
        ("snap1", {"optim__lr": 0.1, "train__update_every": 8}, "SnAp-1"),
    ],
)
def test_a_rule_alone_is_named_by_its_words(tmp_path, rule, changes, label):
    assert labels(sheet(tmp_path, [config(rule, **changes)]).facets[0]) == [label]


def test_only_choices_that_vary_in_a_panel_are_in_its_labels(tmp_path):
    made = [config("snap1", optim__lr=lr) for lr in (0.01, 0.001)]
    made += [config("snap1", optim__lr=0.001, train__update_every=8)]
    made += [config("bptt", optim__lr=0.001, train__update_every=8)]
    assert labels(sheet(tmp_path, made).facets[0]) == [
        "TBPTT(8), lr=0.001",
        "SnAp-1, lr=0.001, update_every=1",
        "SnAp-1, lr=0.001, update_every=8",
        "SnAp-1, lr=0.01, update_every=1",
    ]


def test_a_choice_that_only_some_have_tells_series_apart(tmp_path):
    plain, other = config(), config()
    other["optim"]["momentum"] = 0.9
    assert sorted(labels(sheet(tmp_path, [plain, other]).facets[0])) == [
        "SnAp-1",
        "SnAp-1, momentum=0.9",
    ]


def test_the_plain_variant_of_a_rule_has_its_look_beside_one_with_a_key_more(tmp_path):
    made = [
        config("bptt"),
        config("bptt", optim__half_life=30),
        config("bptt", optim__name="sgd", optim__lr=1),
    ]
    only = sheet(tmp_path, made)
    assert [text.partition(", ")[0] for text in labels(only.facets[0])] == ["BPTT"] * 3
    assert "half_life=30" in labels(only.facets[0])[1]
    assert "sgd" in labels(only.facets[0])[2]
    assert only.facets[0].series[0].look == style.look("BPTT")


def test_what_differs_between_panels_is_in_their_titles(tmp_path):
    made = [config(cell__units=24, optim__lr=0.1), config(cell__units=128, optim__lr=0.2)]
    made += [config("bptt", cell__units=128, optim__lr=0.2)]
    made += [config(sparsity__name="dense", sparsity__share_slots=True, optim__lr=0.2)]
    only = sheet(tmp_path, made)
    assert sorted(facet.title for facet in only.facets) == [
        "GRU-128, 75 % sparse, lr=0.2",
        "GRU-24, 75 % sparse, lr=0.1",
        "GRU-24, dense, slots share one mask, lr=0.2",
    ]
    assert {label for facet in only.facets for label in labels(facet)} == {"BPTT", "SnAp-1"}


def test_one_rule_on_several_networks_is_one_panel_with_the_networks_as_series(tmp_path):
    made = [config(cell__units=units, seed=seed) for units in (24, 128) for seed in (0, 1)]
    (facet,) = sheet(tmp_path, made).facets
    assert facet.title == "SnAp-1"
    assert labels(facet) == ["GRU-24, 75 % sparse", "GRU-128, 75 % sparse"]
    assert [len(series.runs) for series in facet.series] == [2, 2]
    assert [series.rank for series in facet.series] == [0, 1]
    assert facet.series[0].look != facet.series[1].look


def test_several_sources_are_drawn_together(tmp_path):
    for units in (24, 128):
        arms = {rule: {"lr": 0.1, "config": config(rule, cell__units=units)} for rule in RULES}
        write_panel(tmp_path / f"panel{units}", arms)
    write(tmp_path / "raw", config(cell__units=7), ROWS)
    sources = [tmp_path / name for name in ("panel24", "panel128", "raw")]
    (facets,), (both,) = load(sources[:2], False), load(sources, False)
    assert [len(facet.series) for facet in facets.facets] == [len(RULES)] * 2
    assert [len(facet.series) for facet in both.facets] == [1, len(RULES), len(RULES)]
    assert (facets.chosen, both.chosen) == (True, False)


def test_a_pruned_network_is_called_so(tmp_path):
    pruned = {"name": "magnitude", "level": 0.75, "begin": 5}
    made = [config(), config(sparsity=pruned), config(sparsity={**pruned, "begin": 6})]
    (facet,) = sheet(tmp_path, made).facets
    assert sorted(labels(facet)) == [
        "GRU-24, 75 % sparse",
        "GRU-24, pruned to 75 %, begin=5",
        "GRU-24, pruned to 75 %, begin=6",
    ]


def test_incomplete_runs_are_named_and_left_out_or_kept(tmp_path, caplog):
    write(tmp_path / "done", config(), ROWS)
    write(tmp_path / "broken", config(seed=1), ROWS, status=None)
    (only,) = load([tmp_path], incomplete=False)
    assert [run.folder.name for run in only.runs] == ["done"]
    assert caplog.messages == [f"left out (incomplete): {tmp_path / 'broken'}"]
    caplog.clear()
    (only,) = load([tmp_path], incomplete=True)
    assert [run.folder.name for run in only.runs] == ["done", "broken"]
    assert only.facets[0].series[0].incomplete == 1
    assert caplog.messages == []


def test_damaged_runs_are_named_and_left_out(tmp_path, caplog):
    for seed, name in enumerate(("done", "metrics", "summary")):
        write(tmp_path / name, config(seed=seed), ROWS)
    for name, file in (("metrics", "metrics.jsonl"), ("summary", "summary.json")):
        with (tmp_path / name / file).open("a") as opened:
            opened.write("{")
    write(tmp_path / "words", config(seed=3) | {"cell": {"name": "gru", "units": "many"}}, ROWS)
    (only,) = load([tmp_path], incomplete=False)
    assert [run.folder.name for run in only.runs] == ["done"]
    for name, message in zip(("metrics", "summary", "words"), caplog.messages, strict=True):
        assert message.startswith("left out (damaged: ")
        assert message.endswith(f"): {tmp_path / name}")
        assert message.count(str(tmp_path)) == 1
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        load([tmp_path / "metrics"], incomplete=False)


def test_the_same_run_twice_is_no_second_seed(tmp_path, caplog):
    write(tmp_path / "a", config(), ROWS, status=None)
    write(tmp_path / "b", config(), ROWS)
    write(tmp_path / "c", config(name="elsewhere"), ROWS)
    with caplog.at_level(logging.WARNING):
        (only,) = load([tmp_path], incomplete=True)
    assert [run.folder.name for run in only.runs] == ["b"]
    same = f"left out (same configuration and seed as {tmp_path / 'b'}): "
    assert caplog.messages == [f"{same}{tmp_path / 'c'}", f"{same}{tmp_path / 'a'}"]


def test_a_source_of_incomplete_runs_only_is_refused_with_the_remedy(tmp_path):
    write(tmp_path / "broken", config(), ROWS, status=None)
    with pytest.raises(UserError, match="incomplete=true"):
        load([tmp_path], incomplete=False)


def test_a_configuration_without_a_rule_names_the_file_and_key(tmp_path):
    made = config()
    del made["rule"]["name"]
    write(tmp_path, made, ROWS)
    with pytest.raises(UserError, match=r"config\.yaml has no rule\.name"):
        load([tmp_path], incomplete=False)


@pytest.mark.parametrize(
    ("group", "key", "wrong"),
    [("cell", "units", ["many"]), ("cell", "units", "many"), ("sparsity", "level", "abc")],
)
def test_a_configuration_that_cannot_be_put_in_words_is_refused(tmp_path, group, key, wrong):
    made = config()
    made[group][key] = wrong
    write(tmp_path, made, ROWS)
    with pytest.raises(UserError, match=rf"config\.yaml {group}\.{key}="):
        load([tmp_path], incomplete=False)


def test_every_rule_has_a_look_of_its_own(tmp_path):
    made = [*RULES.items(), ("tbptt", {"name": "bptt", "every": 8})]
    made += [("cut", {"name": "bptt", "truncate": 5}), ("less", {"name": "bptt", "memory": 0.1})]
    made += [("snap3", {"name": "snap", "n": 3}), ("snap4", {"name": "snap", "n": 4})]
    made += [("random", {"name": "rflo", "feedback": "random"}), ("new", {"name": "new"})]
    made += [(fed, {"name": "eprop", "feedback": fed}) for fed in ("readout", "random", "adaptive")]
    made += [("rate", {"name": "rate"})]
    made += [("sab", {"name": "sab"}), ("detached", {"name": "sab", "detach": True})]
    families = [
        words.rule(
            {f"rule.{key}": value for key, value in rule.items()}
            | {"train.update_every": rule.get("every", "sequence")}
        ).family
        for _, rule in made
    ]
    assert sorted(families) == sorted(style.LOOKS)
    looks = [style.look(family) for family in families]
    assert len({(look.colour, look.line) for look in looks}) == len(looks)
    # In grey: line and marker.
    assert len({(look.line, look.marker) for look in looks}) == len(looks)


def test_variants_of_a_rule_differ_but_keep_its_marker():
    looks = [style.varied(style.look("SnAp-1"), variant) for variant in range(6)]
    assert looks[0] == style.LOOKS["SnAp-1"]
    assert len({look.colour for look in looks}) == len({look.fill for look in looks}) == 6
    assert len({look.line for look in looks}) == 6
    assert {look.marker for look in looks} == {style.LOOKS["SnAp-1"].marker}


@pytest.mark.parametrize(
    ("family", "degrees"),
    [
        ("TBPTT", (1, 2, 4, 8, 16)),
        ("SnAp-n", (4, 5, 8)),
        ("BPTT, cut", (1, 2, 5, 10)),
        ("BPTT, bounded", (2, 20, 50, 100)),
    ],
)
def test_degrees_of_a_family_differ_in_colour_and_in_grey(family, degrees):
    looks = [style.look(family, degree) for degree in degrees]
    looks += [style.LOOKS[end] for end in ("BPTT", "RTRL", "frozen")]
    assert len({look.colour for look in looks}) == len(looks)
    assert len({(look.line, look.marker, look.fill) for look in looks}) == len(looks)


def test_a_rule_looks_the_same_whatever_is_drawn_beside_it(tmp_path):
    every = {f"{t}": config("bptt", train__update_every=t) for t in (1, 4, 16)}
    alone = sheet(tmp_path / "alone", [every["16"]]).facets[0].series[0]
    beside = sheet(tmp_path / "beside", [config(), *every.values()]).facets[0].series
    (same,) = [series for series in beside if series.label == "TBPTT(16)"]
    assert same.look == alone.look
    assert len({series.look for series in beside}) == 4


def test_memories_and_cuts_are_told_apart(tmp_path):
    made = [config("bptt"), *(config("bptt", rule__memory=part) for part in (0.05, 0.01))]
    made += [config("bptt", rule__truncate=steps) for steps in (5, 10)]
    series = sheet(tmp_path, made).facets[0].series
    assert [one.label for one in series] == [
        "BPTT",
        "BPTT, 5 % of the tape",
        "BPTT, 1 % of the tape",
        "BPTT cut every 5",
        "BPTT cut every 10",
    ]
    assert len({one.look for one in series}) == 5


def test_the_arms_of_a_panel_are_told_apart_without_their_chosen_rates(tmp_path):
    def arm(name, lr, **changes):
        return name, {"lr": lr, "config": config(**changes)}

    arms = dict(
        [
            arm("a", 0.1),
            arm("b", 0.2, rule="bptt"),
            arm("c", 0.3, optim__name="sgd"),
            arm("big", 0.4, cell__units=99),
        ]
    )
    write_panel(tmp_path, arms)
    (only,) = load([tmp_path], incomplete=False)
    assert only.chosen
    assert [(facet.title, labels(facet)) for facet in only.facets] == [
        ("GRU-24, 75 % sparse", ["BPTT, optim=adam", "SnAp-1, optim=adam", "SnAp-1, optim=sgd"]),
        ("GRU-99, 75 % sparse", ["SnAp-1, optim=adam"]),
    ]
    assert [run.config["optim"]["lr"] for run in only.runs] == [0.2, 0.1, 0.3, 0.4]


def test_arms_that_differ_in_their_rate_alone_are_told_apart_by_it(tmp_path):
    made = config()
    arms = {name: {"lr": lr, "config": made} for name, lr in (("a", 0.1), ("b", 0.2))}
    write_panel(tmp_path, {**arms, "c": {"lr": 0.2, "config": config("bptt")}})
    (only,) = load([tmp_path], incomplete=False)
    assert labels(only.facets[0]) == ["BPTT", "SnAp-1, lr=0.1", "SnAp-1, lr=0.2"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0321, "0.0321"), (24, "24"), (999.7, "1k"), (300_000, "300k"), (2.1e6, "2.1M")],
)
def test_numbers_are_compact(value, text):
    assert style.compact(value) == text
