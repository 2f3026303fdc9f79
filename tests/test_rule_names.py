"""The words for rules: what they choose, and back."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snaprun import config, rule_names
from snaprun.checks import UserError
from snaprun.rules import RULES


@pytest.mark.parametrize(
    ("word", "chosen"),
    [
        ("snap1", {"rule.name": "snap", "rule.n": 1}),
        ("snap12", {"rule.name": "snap", "rule.n": 12}),
        ("tbptt8", {"rule.name": "bptt", "train.update_every": 8}),
        ("rflo_random", {"rule.name": "rflo", "rule.feedback": "random"}),
        ("bptt_m0.05", {"rule.name": "bptt", "rule.memory": 0.05}),
        ("bptt_m1.5e-05", {"rule.name": "bptt", "rule.memory": 1.5e-05}),
        ("bptt_m0.5GiB", {"rule.name": "bptt", "rule.memory": "0.5GiB"}),
        ("bptt_m64MB", {"rule.name": "bptt", "rule.memory": "64MB"}),
        (
            "tbptt8_m0.3_hidden_cut5",
            {
                "rule.name": "bptt",
                "train.update_every": 8,
                "rule.memory": 0.3,
                "rule.policy": "hidden",
                "rule.truncate": 5,
            },
        ),
        ("bptt_cut5", {"rule.name": "bptt", "rule.truncate": 5}),
        *((name, {"rule.name": name}) for name in RULES),
        *((word, {"rule.name": word}) for word in ("tbptt0", "tbptt", "snapp", "3", "", "snap-1")),
        *(
            (word, {"rule.name": word})
            for word in ("bptt_m0.050", "bptt_cut0", "bptt_m", "bptt_m1.2.3", "bptt_m.", "bptt_m.B")
        ),
    ],
)
def test_a_word_and_its_choices(word, chosen):
    assert rule_names.choices(word) == chosen
    assert rule_names.word(chosen) == word


ASCII = st.text(st.characters(codec="ascii"))


@given(st.one_of(st.from_regex(r"(snap|tbptt)(0|[1-9][0-9]{0,5})", fullmatch=True), ASCII))
def test_every_word_comes_back(word):
    found = re.fullmatch(r"snap(\d+)", word)
    assert rule_names.word(rule_names.choices(word)) == (f"snap{int(found[1])}" if found else word)


def test_a_configuration_that_tells_all_its_choices_has_the_shortest_word():
    def word(**rule):
        keys = {f"rule.{key}": value for key, value in rule.items()}
        return rule_names.word({**keys, "train.update_every": every, "optim.lr": 1})

    for every in (1, "sequence"):
        assert word(name="rflo", feedback="readout") == "rflo"
        assert word(name="rflo", feedback="random") == "rflo_random"
        assert word(name="rtrl") == "rtrl"
        assert word(name="snap", n=3) == "snap3"
        assert word(name="bptt") == ("tbptt1" if every == 1 else "bptt")
        unused = {"memory": None, "policy": "mixed", "truncate": None}
        assert word(name="bptt", **unused) == word(name="bptt")


def test_words_build_rules():
    assert config.rule(rule_names.choices("rflo_random")).feedback == "random"
    for of in (config.counted, lambda word: config.rule(rule_names.choices(word))):
        assert of("snap4").n == 4
        bounded = of("bptt_m0.05_internal_cut3")
        assert (bounded.memory, bounded.policy, bounded.truncate) == (0.05, "internal", 3)
        for name, kind in RULES.items():
            assert type(of(name)) is kind
        with pytest.raises(UserError, match=r"rule\.n=0 is not accepted"):
            of("snap0")
        with pytest.raises(
            UserError, match=r"rule\.name='tbptt0' is not accepted: expected one of"
        ):
            of("tbptt0")


@pytest.mark.parametrize("word", ["tbptt8", "rflo_random"])
def test_what_does_not_change_a_count_is_refused_by_name(word):
    with pytest.raises(UserError, match=rf"rule\.name='{word}' is not accepted: expected one of"):
        config.counted(word)


def test_figures_read_words_without_torch():
    line = "import sys, snaprun.figures.words; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", line], check=False).returncode == 0
