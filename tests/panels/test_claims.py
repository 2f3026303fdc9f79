"""results/README.md, the bench's and the table of costs in README.md tell what the tables hold."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
claims = runpy.run_path(str(ROOT / "scripts" / "claims.py"))


def test_committed_pages_are_made_from_the_committed_tables():
    for file, text in claims["pages"]().items():
        assert file.read_text(encoding="utf-8") == text, file


@pytest.mark.parametrize(
    ("times", "text"),
    [
        ((0.9, 1.0, 0.8), "**holds** on GRU, vanilla and LSTM"),
        (
            (2.0, 0.9, 1.05),
            "**holds** on vanilla; within 10 % on LSTM (1.05); **does not hold** on GRU (2.00)",
        ),
    ],
)
def test_a_verdict_on_cost_follows_from_the_ratios(times, text, monkeypatch):
    found = dict(zip(("gru", "vanilla", "lstm"), times, strict=True))
    verdict = claims["costed"].cost_verdict
    monkeypatch.setitem(verdict.__globals__, "ratio", lambda cell, *_: f"{found[cell]:.2f}")
    assert verdict(16, "characters") == text


@pytest.mark.parametrize(
    ("value", "panel", "signed", "text"),
    [
        (9.0, "copy_x", False, "9"),
        (28.26, "copy_x", False, "28.3"),
        (-11.75, "copy_x", True, "−11.8"),
        (2.0, "copy_x", True, "+2"),
        (-0.04, "copy_x", True, "0"),
        (-0.004, "charlm_x", True, "0"),
        (-0.2, "charlm_x", True, "−0.20"),
        (2.0, "charlm_x", False, "2.00"),
    ],
)
def test_numbers_in_the_decimals_of_their_panel(value, panel, signed, text):
    assert claims["number"](value, panel, signed) == text


def test_a_pair_turned_round_has_the_sign_and_the_edges_turned_round():
    forth = claims["pair"]("copy_gru256", "snap1", "uoro")
    back = claims["pair"]("copy_gru256", "uoro", "snap1")
    assert back == (-forth.difference, -forth.high, -forth.low, forth.p, forth.holm)
    assert claims["pair"]("copy_gru256", "snap1", "absent") is None
