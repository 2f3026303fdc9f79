"""Candidates beside the exact gradient: against autograd, and what their definitions imply."""

import math

import pytest
import torch

from snaprun.align import still
from snaprun.align.candidates import Candidate, candidates, own
from snaprun.align.point import beside_exact, slots
from snaprun.cells import CELLS as CELL_TYPES
from snaprun.cells import Vanilla
from snaprun.checks import UserError
from snaprun.config import rule as rule_of
from snaprun.engine.optim import SGD
from snaprun.engine.torch import TorchEngine
from snaprun.influence import choose
from snaprun.rules import BPTT, RFLO, RTRL, UORO, Frozen, SnAp
from snaprun.rules.over_steps import gradients
from snaprun.seeding import stream
from snaprun.tasks import CharLM, Copy
from tests.align.problems import SEED, B, batch, by_autograd, network, replay
from tests.cases import close, rng

CELLS = [kind() for kind in CELL_TYPES.values()]


def measured(words, cell=None, draws=16, level=0.6):
    built = network(cell, level)
    compared = candidates(words, rule_of)
    return beside_exact(replay(built), built, batch(), compared, draws, rng(5))


def frozen_steps(built, data):
    credit = still.through(built.core, built.readout, data)
    return still.steps(built.core, built.weights(), data, len(data.mask), credit)


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: type(c).__name__)
def test_the_exact_gradient_is_autograds(cell):
    built, data = network(cell), batch()
    close(replay(built).whole(BPTT(), frozen_steps(built, data)), by_autograd(built, data), 1e-10)


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: type(c).__name__)
def test_rtrl_and_snap_of_large_n_are_exact(cell):
    found = measured(["rtrl", "snap20", "bptt"], cell)
    for name in ("rtrl", "snap20", "bptt"):
        assert found[f"{name}/whole/cosine"] == pytest.approx(1, abs=1e-10)
        assert found[f"{name}/whole/norm_ratio"] == pytest.approx(1, abs=1e-10)
        assert found[f"{name}/whole/bias2"] < 1e-20
        assert found[f"{name}/whole/variance"] == 0
        assert f"{name}/whole/cosine_low" not in found


def test_snap_comes_nearer_with_n():
    found = measured([f"snap{n}" for n in range(1, 6)], level=0.8)
    errors = [found[f"snap{n}/whole/bias2"] for n in range(1, 6)]
    cosines = [found[f"snap{n}/whole/cosine"] for n in range(1, 6)]
    # From n = 4 on all is reached, and what is left is rounding.
    assert errors[0] > 1e-3 > errors[1] > errors[2] > 1e-12 > 1e-20 > max(errors[3:])
    assert cosines[0] < cosines[1] < cosines[2] < min(cosines[3:])


def test_uoro_is_unbiased_and_rflo_is_not():
    found = measured(["uoro", "rflo"], draws=400)
    assert found["uoro/whole/bias2_low"] < 0 < found["uoro/whole/bias2_high"]
    assert found["uoro/whole/bias2_high"] < found["uoro/whole/variance_low"] / 10
    assert found["rflo/whole/bias2"] > 0.01
    assert found["rflo/whole/variance"] == 0


def test_truncation_is_the_sum_of_cut_windows():
    built, data = network(), batch()
    steps = frozen_steps(built, data)
    cut = replay(built).whole(BPTT(), steps, every=4)
    ends = gradients(BPTT(), replay(built).begin(BPTT(), noise=0), steps, every=4)
    close(cut, sum(ends))
    found = measured(["tbptt4", "tbptt9", "tbptt1000"])
    assert found["tbptt4/whole/bias2"] > 1e-3
    assert found["tbptt9/whole/bias2"] == found["tbptt1000/whole/bias2"] == 0


def test_slots_share_out_the_parameters():
    built, data = network(), batch()
    steps = frozen_steps(built, data)
    exact_P, g_P = (replay(built).whole(rule, steps) for rule in (BPTT(), SnAp(1)))
    found = measured(["snap1"])
    names = [name for name, _ in slots(built.core)]
    assert names == ["whole", "z", "r", "n_x", "n_h"]
    covered = sum(within_P.long() for name, within_P in slots(built.core) if name != "whole")
    assert covered.eq(1).all()
    for name, within_P in slots(built.core):
        g, exact = g_P[within_P], exact_P[within_P]
        cosine = torch.nn.functional.cosine_similarity(g, exact, dim=0)
        assert found[f"snap1/{name}/cosine"] == pytest.approx(float(cosine), abs=1e-12)
        assert found[f"snap1/{name}/norm_ratio"] == pytest.approx(float(g.norm() / exact.norm()))
    assert [name for name, _ in slots(network(Vanilla()).core)] == ["whole"]


def test_the_frozen_core_has_no_direction():
    found = measured(["frozen"])
    assert math.isnan(found["frozen/whole/cosine"])
    assert found["frozen/whole/norm_ratio"] == 0


@pytest.mark.parametrize("rule", [SnAp(2), RFLO(), RFLO(feedback="random")])
def test_a_replay_finds_the_gradient_of_training(rule):
    built, data = network(), batch()
    before_P, steps = built.theta.clone(), frozen_steps(network(), data)
    engine = TorchEngine(
        built,
        rule,
        SGD(lr=1.0),
        lanes=B,
        update_every="sequence",
        noise=stream(SEED, "noise"),
        backend=choose("auto"),
    )
    engine.run(data)
    got_P = replay(built).whole(rule, steps, noise=123)
    close(got_P, (before_P - built.theta) * int(data.mask.sum()), 1e-10)


def test_noise_is_drawn_anew_and_again():
    built = network()
    steps = frozen_steps(built, batch())
    first, again, other = (replay(built).whole(UORO(), steps, noise) for noise in (1, 1, 2))
    assert first.equal(again)
    assert not first.allclose(other)


@pytest.mark.parametrize("mode", ["crops", "stream"])
def test_drawing_leaves_a_text_as_it_was(tmp_path, mode):
    text = tmp_path / "text"
    text.write_bytes(bytes(range(256)) * 4)
    task, other = (CharLM(str(text), mode=mode, crop=11) for _ in range(2))
    generators = [rng(), rng()]
    for _ in range(3):
        drawn = still.draw(task, B, rng(9))
        assert drawn.resets[0].all()
        assert len(drawn.mask) == 11
        one, two = (t.batch(B, g) for t, g in zip((task, other), generators, strict=True))
        assert one.inputs.equal(two.inputs)
        assert one.resets.equal(two.resets)
    if mode == "stream":
        assert drawn.inputs.equal(one.inputs)  # what training sees next


def test_drawing_is_at_the_curriculums_level():
    task = Copy(spread=0)
    task.level = 6
    assert len(still.draw(task, B, rng()).mask) == 13


def test_words_of_rules():
    found = candidates(["snap7", "tbptt12", "rtrl", "bptt", "rflo_random", "rflo"], rule_of)
    assert [found[word].rule.feedback for word in ("rflo_random", "rflo")] == ["random", "readout"]
    assert found["snap7"].rule.n == 7
    assert (type(found["tbptt12"].rule), found["tbptt12"].every) == (BPTT, 12)
    assert type(found["rtrl"].rule) is RTRL
    assert found["bptt"].every is None


@pytest.mark.parametrize("word", ["tbptt", "tbptt0", "snap0", "snapp", "3", ""])
def test_refuses_other_words(word):
    with pytest.raises(UserError):
        candidates([word], rule_of)


def test_the_runs_own_rule():
    bptt, snap, rtrl, uoro = BPTT(), SnAp(3), RTRL(), UORO()
    assert own("bptt", bptt, "sequence") == {"bptt": Candidate(bptt)}
    assert own("bptt", bptt, 4) == {"tbptt4": Candidate(bptt, 4)}
    assert own("snap", snap, 1) == {"snap3": Candidate(snap)}
    assert own("rtrl", rtrl, 1) == {"rtrl": Candidate(rtrl)}
    assert own("uoro", uoro, "sequence") == {"uoro": Candidate(uoro)}
    assert own("frozen", Frozen(), 1) == {}
    readout, random = RFLO(), RFLO(feedback="random")
    assert own("rflo", readout, 1) == {"rflo": Candidate(readout)}
    assert own("rflo", random, 1) == {"rflo_random": Candidate(random)}
