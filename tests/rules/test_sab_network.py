"""The network that sparse attentive backtracking trains: where it goes, and who refuses it."""

import numpy as np
import pytest
import torch

import snaprun
from snaprun import config
from snaprun.checks import UserError
from snaprun.cli import _main
from snaprun.engine.evaluate import mean_loss
from snaprun.engine.optim import SGD
from snaprun.engine.torch import TorchEngine
from snaprun.figures import words
from snaprun.rules import BPTT, RFLO, RTRL, SAB, UORO, Frozen, SnAp
from snaprun.run.sample import sample
from snaprun.tasks import TASKS
from tests.cases import CELLS, problem, rng
from tests.rules.contract import start
from tests.rules.test_sab import built, drawn
from tests.test_config import composed

RULE = SAB(k_att=2, k_top=2, k_trunc=3)


def problem_with(reminder):
    return problem(CELLS["gru"], reminder=reminder)


@pytest.mark.parametrize("rule", [BPTT(), RTRL(), SnAp(1), UORO(), RFLO(), Frozen()])
def test_no_other_rule_takes_its_network(rule):
    with pytest.raises(UserError, match="reminder"):
        TorchEngine(built(RULE), rule, SGD(), lanes=2, update_every=1, noise=rng())


def test_it_takes_no_other_network():
    with pytest.raises(UserError, match="reminder=None"):
        start(RULE, problem_with(None))
    with pytest.raises(UserError, match=r"Reminder\(k_att=2, k_top=2\)"):
        start(SAB(k_att=3, k_top=2), problem_with(RULE.reminder))
    with pytest.raises(UserError, match="in whose dynamics each unit is apart"):
        built(RULE).core.pattern(1)
    _, record = next(iter(problem_with(None).records()))
    state, _ = start(RULE, problem_with(RULE.reminder))
    with pytest.raises(ValueError, match="no recall"):
        RULE.step(state, record)


@pytest.mark.parametrize("every", [1, 7])
def test_anything_but_whole_sequences_is_refused_with_the_remedy(every, here, capfd):
    words = ["train", "rule=sab", f"train.update_every={every}", "cell.units=5"]
    assert _main(words) == 2
    (line,) = [x for x in capfd.readouterr().err.splitlines() if x.startswith("snaprun: ")]
    assert f"train.update_every={every} is not accepted: expected sequence" in line
    assert "Set train.update_every=sequence." in line
    assert list(here.iterdir()) == []
    with pytest.raises(ValueError, match=r"^update_every=.* expected sequence"):
        snaprun.Learner(3, 2, rule="sab", update_every=every)


@pytest.mark.parametrize("key", ["k_att", "k_top", "k_trunc"])
def test_numbers_out_of_range_are_refused(key):
    with pytest.raises(UserError, match=rf"rule\.{key}=0 is not accepted: expected an integer ≥ 1"):
        SAB(**{key: 0})


def test_more_memories_than_the_core_recalls_are_refused():
    with pytest.raises(ValueError, match=r"k_top=16777217 is not accepted: .* ≤ 16777216"):
        snaprun.Learner(
            3, 2, rule="sab", rule_args={"k_top": 2**24 + 1}, units=1, update_every="sequence"
        )


def test_a_lane_that_goes_on_into_the_next_batch_is_refused():
    network = built(RULE)
    trained = TorchEngine(network, RULE, SGD(), lanes=3, update_every="sequence", noise=rng())
    first, second = drawn(), drawn(seed=1)
    second.resets[0, 1] = False
    trained.run(first)
    with pytest.raises(UserError, match="such as recall_after_delay, copy or digits"):
        trained.run(second)
    again = TorchEngine(network, RULE, SGD(), lanes=3, update_every="sequence", noise=rng())
    again.run(first.piece(0, 5))
    again.run(first.piece(5, 99))  # a piece is no batch
    assert again.updates == 1
    short = SAB(k_att=99)  # no memories, nothing that adds up
    goes_on = TorchEngine(built(short), short, SGD(), lanes=3, update_every="sequence", noise=rng())
    goes_on.run(first)
    goes_on.run(second)
    assert goes_on.updates == 2


def test_the_modules_of_torch_refuse_it():
    with pytest.raises(ValueError, match="SAB goes back through the past"):
        snaprun.nn.GRU(3, 4, rule="sab")
    from snaprun.nn import export

    with pytest.raises(UserError, match=r"torch\.nn has no attention over memories"):
        export.contents(built(RULE))


def test_alignment_refuses_it(here, capfd):
    small = ["cell.units=5", "readout.hidden=0", "train.tokens=100", "train.lanes=2"]
    assert _main(["align", "rule=sab", "train.update_every=sequence", *small]) == 2
    assert _main(["align", "align.rules=[bptt,sab]", *small]) == 2
    assert capfd.readouterr().err.count("rules that share one network") == 2
    assert list(here.iterdir()) == []


def test_validation_is_training_without_updates():
    """On pieces and on a run of batches, with the loss that the engine computes."""
    network, batches = built(RULE), [drawn(11), drawn(8, seed=1, begins=[(4, 1)])]
    still = TorchEngine(
        network, RULE, SGD(lr=1e-300), lanes=3, update_every="sequence", noise=rng()
    )
    summed = sum(float(still.run(batch).sum()) for batch in batches)
    want = network.readout.loss.reported(summed / sum(int(b.mask.sum()) for b in batches))
    pieces = [batch.piece(first, 3) for batch in batches for first in range(0, 12, 3)]
    pieces = [piece for piece in pieces if len(piece.mask)]
    for given in (batches, pieces):
        for in_core in (False, True):
            assert mean_loss(network, given, in_core) == pytest.approx(want, rel=1e-12)


def test_text_is_sampled_with_memories():
    rule = SAB(k_att=1, k_top=2)
    made = snaprun.Learner(256, 256, units=6, rule=rule, update_every="sequence", loss="softmax")
    network = made.network
    for parameter in network.attention:
        parameter *= 9
    with_them = sample(network, b"abcabcabc", 24, 0.0, 0)
    learner_says, byte = [], None
    for byte in b"abcabcabc":
        outputs = made.predict(np.array(byte))
    for _ in range(24):
        byte = int(outputs.argmax())
        learner_says.append(byte)
        outputs = made.predict(np.array(byte))
    assert list(with_them) == learner_says


def test_a_learner_is_a_run_bit_by_bit():
    task, generator = TASKS["recall_after_delay"](delay=3), rng()
    choices = {"units": 6, "rule": "sab", "rule_args": {"k_att": 1, "k_top": 2}, "lanes": 2}
    choices |= {"update_every": "sequence", "dtype": "float64", "loss": "softmax"}
    learner = snaprun.Learner(10, 10, **choices)
    other = snaprun.Learner(10, 10, **choices)
    batches = [task.batch(2, generator) for _ in range(3)]
    for batch in batches:
        learner.reset()
        for x, y in zip(batch.inputs, batch.targets, strict=True):
            learner.step(x, y)
        other._engine.run(batch)
    learner.reset()
    assert learner.updates == other.updates == 3
    pairs = zip(learner.network.parameters, other.network.parameters, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_learner_that_is_saved_after_the_last_step_goes_on_bit_by_bit(tmp_path):
    """Within a window, also where one lane has begun anew and another goes on with memories."""
    made = snaprun.Learner(3, 2, units=5, rule="sab", update_every="sequence", lanes=2)
    x_TBA = np.random.default_rng(0).standard_normal((17, 2, 3)).astype(np.float32)
    for t in range(12):
        if t == 7:
            made.reset([1])
        made.step(x_TBA[t], x_TBA[t, :, :2])
    made.save(tmp_path / "model.pt")
    again = snaprun.Learner.load(tmp_path / "model.pt")
    for one in (made, again):
        one.reset([0])
    for t in range(12, 17):
        guesses = [one.step(x_TBA[t], x_TBA[t, :, :2])[0] for one in (made, again)]
        assert np.array_equal(*guesses)
    for one in (made, again):
        one.reset()
    assert made.updates == again.updates == 3
    pairs = zip(made.network.parameters, again.network.parameters, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_clip_and_average_cover_the_attention():
    network = built(RULE)
    trained = TorchEngine(
        network,
        RULE,
        SGD(lr=1.0, clip=1e-3),
        lanes=3,
        update_every="sequence",
        noise=rng(),
        average=0.5,
    )
    before = [p.clone() for p in network.parameters]
    trained.run(drawn())
    moved = [a - b for a, b in zip(before, network.parameters, strict=True)]
    assert float(sum(x.square().sum() for x in moved)) ** 0.5 == pytest.approx(1e-3, rel=1e-4)
    assert all(x.any() for x in moved)
    average = trained.average()
    assert average is not None
    assert len(average) == len(network.parameters)
    assert network.at(average).attention[0].equal(average[-3])


def test_a_name_that_is_known_in_figures():
    choices = {"rule.name": "sab", "train.update_every": "sequence"}
    assert words.rule(choices).text == words.rule(choices).family == "SAB"
    assert words.rule(choices | {"rule.detach": True}).text == "SAB (detached bank)"


def test_the_memory_check_counts_it():
    from snaprun.run import memory

    words = ["rule=sab", "train.update_every=sequence", "task=recall_after_delay"]
    words += ["cell.units=24", "readout.hidden=5", "task.delay=30"]
    parts = config.parts(composed(*words))
    plain = config.parts(composed(*[*words[1:], "rule=bptt"]))
    counts, without = memory.sizes(parts), memory.sizes(plain)
    assert counts.attention == 24 * 24 * 2 + 24
    assert counts.readout == without.readout + 24 * 5
    ours, theirs = (memory.demand(p, memory.sizes(p)).parts for p in (parts, plain))
    assert ours["tape"] > theirs["tape"]
    assert ours["parameters"] == theirs["parameters"] + 2 * 4 * (counts.attention + 24 * 5)
