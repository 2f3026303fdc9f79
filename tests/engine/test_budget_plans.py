"""The C++ engine refuses plans and saved places in them that do not fit, before it follows them."""

import numpy as np
import pytest
import torch

from snaprun.rules import BPTT
from snaprun.rules.schedule import BACK, DROP, HOLD, RESTORE, TAPE
from tests.engine.test_budget_native import LEAST, A, O, batches, engine

GOOD = [HOLD, 1, TAPE, BACK, RESTORE, TAPE, BACK, DROP]  # two steps


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ([], "does not reverse all steps"),
        (GOOD[:-1], "leaves states behind"),
        (GOOD[:-4], "does not reverse all steps"),
        ([*GOOD, DROP], "drops a missing state"),
        ([HOLD, 3, TAPE], "passes the end"),
        ([HOLD, 2**31 - 1], "passes the end"),
        ([HOLD, -6], "unknown instruction"),
        ([HOLD, 0, TAPE], "unknown instruction"),
        ([HOLD, TAPE, BACK], "before all are passed"),
        ([HOLD, 1, RESTORE], "before all steps are passed"),
        ([HOLD, DROP], "drops a missing state"),
        ([1, TAPE, BACK, RESTORE, TAPE, BACK], "restores a missing state"),
        ([HOLD, TAPE, TAPE, BACK, BACK, BACK], "reverses a missing step"),
        ([HOLD, TAPE, 1, BACK], "reverses a missing step"),
        ([HOLD, 1, TAPE, DROP], "drops a missing state"),
        ([HOLD, 1, TAPE, BACK, RESTORE, TAPE, TAPE, BACK], "passes the end"),
        ([HOLD, TAPE, TAPE, BACK, BACK, DROP], "more than the bytes"),
    ],
)
def test_a_wrong_plan_is_refused(plan, said):
    ours = engine(BPTT(LEAST), every=2)
    core = ours._engine
    hidden, internal = ours.state_bytes
    with pytest.raises(ValueError, match=said):
        core.plan(np.array(plan, np.int32), 2, hidden + internal)
    assert core.window()["steps"] == 0
    core.plan(np.array(GOOD, np.int32), 2, hidden + internal)
    for bad in [{"steps": 3}, {"steps": 0}, {"bytes": -1}, {"bytes": hidden + internal - 1}]:
        with pytest.raises(ValueError, match=r"no such steps|bytes"):
            core.plan(**{"plan": np.array(GOOD, np.int32), "steps": 2, "bytes": 10**6} | bad)


def test_a_plan_is_needed_and_kept_until_its_window_ends():
    ours = engine(BPTT(0.5), every=20)
    core, batch = ours._engine, batches(3)[0]
    parameters = ours._parameters()
    data = (batch.inputs, None, batch.targets, None, batch.mask, batch.resets, None)
    losses_TB = torch.zeros(13, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="needs a plan"):
        core.run(*parameters, *data, losses_TB)
    ours.run(batch)
    with pytest.raises(ValueError, match="a window is open"):
        core.plan(np.array([HOLD, TAPE, BACK, DROP], np.int32), 20, 10**9)
    with pytest.raises(ValueError, match="needs a plan"):
        core.update(*parameters)
    with pytest.raises(ValueError, match="passes the end"):
        core.close(np.array([HOLD, TAPE, BACK, DROP], np.int32))
    ours.update()
    with pytest.raises(ValueError, match="no window to close"):
        core.close(np.array([HOLD, TAPE, BACK, DROP], np.int32))


@pytest.mark.parametrize("work", [7, 11, 16, 23])
def test_a_damaged_state_is_refused(work):
    rule = BPTT(0.4)
    ours, batch = engine(rule), batches(3)[0]
    begun = ours.begun(batch)
    ours.advance(begun, work)
    good = ours.state_dict()
    engine(rule).load_state_dict(good)
    own = good["rule"]
    wrong = [
        {"at": own["at"] + 1},
        {"at": -1},
        {"at": 10**6},
        {"part": own["part"] + 50},
        {"part": -1},
        {"steps_planned": 5},
        {"steps_planned": 0},
        {"forwards": -1},
        {"hidden": own["hidden"][1:]},
        {"src": own["src"].new_zeros(len(own["src"]) + 1, *own["src"].shape[1:])},
        {"state": own["state"].float()},
        {"inputs": own["inputs"] + A},
        {"inputs": own["inputs"] - A},
        {"targets": own["targets"] + O},
        {"mask": own["mask"][:-1]},
        {"resets": own["resets"].to(torch.uint8)},
        {"cursor": own["cursor"][:2]},
        {"gradient": own["gradient"][1:]},
        {"pending_src": own["src"].new_zeros(4, *own["pending_src"].shape[1:])},
        {name: own[name].new_zeros(40, *own[name].shape[1:]) for name in own if "pending" in name},
    ]
    for changed in wrong:
        with pytest.raises(ValueError, match=r"state|pending|instruction|plan|steps"):
            engine(rule).load_state_dict({**good, "rule": own | changed})
    with pytest.raises(ValueError, match="steps"):
        engine(rule).load_state_dict(good | {"steps": good["steps"] - 1})
