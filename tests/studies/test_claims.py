"""results/README.md, the bench's and the table of costs in README.md tell what the tables hold."""

import runpy
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
claims = runpy.run_path(str(ROOT / "scripts" / "claims.py"))


def test_committed_pages_are_made_from_the_committed_tables():
    for file, text in claims["pages"]().items():
        assert file.read_text(encoding="utf-8") == text, file


@pytest.mark.parametrize(
    ("bands", "text"),
    [
        ([(0.8, 0.9), (0.9, 1.0), (0.7, 0.8)], "**holds** on GRU, vanilla and LSTM"),
        (
            [(1.9, 2.1), (0.8, 1.0), (0.9, 1.1)],
            "**holds** on vanilla; within 10 % on LSTM (1.00); **does not hold** on GRU (2.00)",
        ),
        (
            [(1.11, 1.2), (1.1, 1.2), (0.7, 1.3)],
            "**not decided** on vanilla (1.15) and LSTM (1.00); **does not hold** on GRU (1.16)",
        ),
    ],
)
def test_a_verdict_on_cost_follows_from_the_bands_of_the_ratios(bands, text, monkeypatch):
    found = {
        cell: pd.Series({"ratio": (low + high) / 2, "ratio_low": low, "ratio_high": high})
        for cell, (low, high) in zip(("gru", "vanilla", "lstm"), bands, strict=True)
    }
    verdict = claims["costed"].cost_verdict
    monkeypatch.setitem(verdict.__globals__, "over_bptt", lambda cell, *_: found[cell])
    assert verdict(16, "characters") == text


def test_what_holds_is_ahead_with_p_and_what_is_shown_has_ten_seeds(monkeypatch):
    def made(difference: float, p: float, holm: float, least: float):
        return claims["Pair"](difference, difference, difference, p, holm, least)

    pairs = {
        "copy_gru128": made(2, 0.03, 0.3, 2**-5),
        "copy_gru256": made(2, 0.05, 0.02, 2**-9),
        "copy_gru512": made(2, 0.01, 0.06, 2**-9),
        "charlm_gru128": made(-0.1, 0.01, 0.02, 2**-9),
        "charlm_lstm128": made(-0.1, 0.01, 0.05, 2**-10),
    }
    monkeypatch.setitem(claims["holds"].__globals__, "pair", lambda panel, *_, **__: pairs[panel])
    assert claims["holds"](list(pairs), "a", "b") == "**holds**"
    assert claims["shown"](list(pairs), "a", "b") == "3 of 4"
    assert claims["shown"](list(pairs), "a", "b", ahead=False) == "0 of 4"
    for wrong in (made(-2, 0.01, 0.02, 2**-9), made(2, 0.06, 0.5, 2**-9)):
        pairs["copy_gru512"] = wrong
        with pytest.raises(AssertionError):
            claims["holds"](list(pairs), "a", "b")
    pairs["copy_lstm256"] = pairs["copy_gru128"]
    assert claims["holds"](list(pairs), "a", "b") == "**holds** (except on GRU-512, 98.44 %)"
    assert claims["shown"](list(pairs), "a", "b") == "3 of 4"


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
    assert back == (-forth.difference, -forth.high, -forth.low, *forth[3:])
    assert claims["pair"]("copy_gru256", "snap1", "absent") is None
