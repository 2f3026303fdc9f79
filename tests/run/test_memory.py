"""Runs that do not fit into memory: refused in one line, before they take any."""

import resource
import subprocess
import sys

import pytest
import torch

from snaprun import config, hardware
from snaprun.checks import UserError
from snaprun.run import build, memory
from snaprun.run import launch as run
from snaprun.tasks import TASKS
from tests.test_config import composed

GB = 10**9


@pytest.fixture
def left(monkeypatch):
    """Sets the memory that is said to be available."""

    def to(count):
        monkeypatch.setattr(hardware, "available_bytes", lambda: (count, "in this test"))

    return to


def limited(words, address_space):
    """A run of the command line within RLIMIT_AS: exit code, stderr, CPU seconds, peak bytes."""
    code = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({address_space}, {address_space}))\n"
        "from snaprun import cli, hardware\n"
        "code = cli._main(sys.argv[1:])\n"
        "print(hardware.peak_bytes())\n"
        "sys.exit(code)\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_two_terabytes_are_refused_at_once_and_without_touching_memory(here):
    words = ["train", "rule=rtrl", "cell.units=2048", "sparsity=dense"]
    done, seconds = limited(words, 12 * GB)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    for word in ("rule=rtrl", "cell.units=2048", "TB", "RLIMIT_AS", "rule=snap1"):
        assert word in done.stderr
    assert int(done.stdout) < 1 * GB  # torch alone takes a third of it
    assert seconds < 60
    assert list(here.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_a_sequence_that_is_too_long_does_not_blame_the_units(here):
    done, _ = limited(["train", "task.fixed_length=1e8"], 12 * GB)
    assert done.returncode == 2
    assert "task.fixed_length=100000000" in done.stderr
    assert "a smaller task.fixed_length" in done.stderr
    assert "cell.units" not in done.stderr
    assert int(done.stdout) < 1 * GB
    assert list(here.iterdir()) == []


def parts_of(*words):
    return config.parts(composed("cell.units=24", "readout.hidden=5", *words))


@pytest.mark.parametrize(
    "words",
    [
        *(["rule=snap2"], ["rule=snap2", "engine=torch"], ["rule=bptt"]),
        *(["rule=rtrl", "cell.layers=2", way] for way in ("engine=torch", "engine=native")),
    ],
)
def test_the_drawn_mask_decides_where_the_expected_one_leaves_it_open(words, left, monkeypatch):
    parts = parts_of(*words)
    left(10**12)
    engine = run.build(parts)
    needed = memory.demand(parts, memory.sizes(parts, engine.network.core)).total

    left(needed)
    run.build(parts)
    monkeypatch.setattr(build, "build_engine", lambda *a, **k: pytest.fail("it was built"))
    left(needed - 1)
    with pytest.raises(UserError, match="is left in this test"):
        run.build(parts)
    monkeypatch.setattr(type(parts.architecture), "build", lambda *a: pytest.fail("it was drawn"))
    left(needed // 4)
    with pytest.raises(UserError, match="is left in this test"):
        run.build(parts)


@pytest.mark.parametrize("words", [[], ["sparsity=diagonal", "cell.layers=2"]])
def test_a_mask_that_may_reach_little_is_drawn_before_anything_is_refused(left, words):
    parts = parts_of("rule=rtrl", "cell=vanilla", "cell.units=64", *words, "sparsity.level=0.98")
    expected = memory.demand(parts, memory.sizes(parts))
    left(2 * expected.setup)
    assert not memory.check(parts)
    left(expected.setup // 3)
    with pytest.raises(UserError, match=r"fewer cell\.units"):
        memory.check(parts)


SAB = ["rule=sab", "train.update_every=sequence"]  # which no update within a sequence makes smaller


@pytest.mark.parametrize(
    ("words", "causes", "remedies"),
    [
        (["rule=snap2"], "rule=snap2", "a smaller rule.n"),
        (["rule=rtrl"], "rule=rtrl, cell.units=24", "rule=snap1 or rule=snap2, fewer cell.units"),
        (["train.lanes=4000"], "train.lanes=4000", "fewer train.lanes"),
        (["rule=bptt", "train.update_every=9000"], "train.update_every=9000", "train.update_every"),
        (["rule=bptt", "train.update_every=9000"], "rule=bptt", "a bound such as rule.memory=0.05"),
        (
            ["rule=bptt", "train.update_every=9000", "rule.memory=0.5"],
            "rule=bptt, train.update_every=9000",
            "a smaller rule.memory",
        ),
        (
            ["rule=bptt", "train.update_every=sequence", "task.fixed_length=9000"],
            "task.fixed_length=9000",
            "a smaller task.fixed_length",
        ),
        (
            ["rule=bptt", "train.update_every=sequence", "task=charlm", "task.crop=9000"],
            "task.crop=9000",
            "a smaller task.crop",
        ),
        (["cell.units=3000"], "cell.units=3000", "a larger sparsity.level"),
        (["rule=rtrl", "cell.layers=3"], "rule=rtrl, cell.units=24, cell.layers=3", "rule=snap1"),
        (["rule=rtrl", "cell.units=[24,30]"], "cell.units=[24, 30]", "fewer cell.units"),
        (["sparsity=magnitude", "rule=rtrl"], "sparsity=magnitude", "a larger sparsity.initial"),
        (["sparsity=dense", "rule=rtrl"], "sparsity=dense", "sparsity=uniform"),
        (["readout.hidden=90000"], "readout.hidden=90000", "a smaller readout.hidden"),
        (
            [*SAB, "task.fixed_length=900"],
            "rule=sab",
            "a smaller task.fixed_length, fewer cell.units, fewer train.lanes or a smaller rule.k",
        ),
    ],
)
def test_the_words_are_of_the_largest_part(words, causes, remedies, left):
    left(1)
    with pytest.raises(UserError) as refusal:
        memory.check(parts_of(*words))
    said = str(refusal.value)
    assert causes in said.partition(": this needs")[0]
    assert remedies in said.partition(" Take ")[2]
    assert "\n" not in said


LEAST = 16 * 4 * (24 + (24 + 4 + 1 + 24 * 6))  # 16 lanes of a GRU of 24 units, in float32


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["rule.memory=0.1", "train.update_every=9"],
            rf"least {LEAST} B, or 0\.124\d of .* 9 s",
        ),
        (["rule.memory=9kB", "train.update_every=9"], rf"at least {LEAST} B, .*it allows 9000 B"),
        (
            ["rule.memory=0.01", "train.update_every=sequence", "task.fixed_length=10"],
            rf"at least {LEAST} B, or 0\.053\d of the full tape of 21 steps",
        ),
    ],
)
def test_a_budget_under_the_least_is_refused_where_the_window_is_known(words, said, left):
    left(10**12)
    with pytest.raises(UserError, match=said) as refusal:
        run.build(parts_of("rule=bptt", "engine=torch", *words))
    assert "\n" not in str(refusal.value)
    run.build(parts_of("rule=bptt", "engine=torch", f"rule.memory={LEAST}B", *words[1:]))


def test_a_task_whose_sequences_have_one_length_has_a_known_window(left):
    left(10**12)
    pytest.importorskip("sklearn")
    words = ["task=digits", "rule=bptt", "train.update_every=sequence", "rule.memory=1e-6"]
    with pytest.raises(UserError, match="of the full tape of 8 steps"):
        run.build(parts_of(*words))


@pytest.mark.parametrize(
    ("cell", "grows"), [("gru", True), ("lstm", False), ("vanilla", False), ("vanilla", True)]
)
def test_memories_that_add_up_in_h_are_told(cell, grows, left, caplog):
    left(10**12)
    leak = ["cell.alpha=0.5"] if cell == "vanilla" and grows else []
    run.build(parts_of(*SAB, f"cell={cell}", *leak))
    assert ("h may grow without bound" in caplog.text) == grows
    assert caplog.text.count("\n") == grows


def test_padded_lanes_count_where_the_engine_pads_them(left):
    left(10**12)
    pytest.importorskip("snaprun._native")
    words = "rule=bptt", "train.lanes=3", "train.update_every=9"
    least = LEAST // 16 * 3
    for engine, needed in (("torch", least), ("native", least // 3 * 8)):
        with pytest.raises(UserError, match=f"at least {needed} B"):
            run.build(parts_of(*words, f"engine={engine}", f"rule.memory={needed - 1}B"))
        parts = parts_of(*words, f"engine={engine}", f"rule.memory={needed}B")
        made = run.build(parts)
        made.run(parts.task.batch(3, torch.Generator()))
        made.update()
        assert made.rule_bytes <= needed


def test_a_window_longer_than_the_run_is_planned_as_a_whole(left):
    left(10**9)
    words = "rule=bptt", "train.update_every=100000000", "train.tokens=600"
    for size in ("64MB", "0.5"):
        with pytest.raises(
            UserError, match=r"train.update_every=100000000.*smaller train.update_ev"
        ):
            run.build(parts_of(*words, f"rule.memory={size}"))
    run.build(parts_of(*words))


def test_a_sequence_of_unknown_length_takes_the_least(left):
    left(10**12)
    words = "rule=bptt", "engine=torch", "rule.memory=0.01", "train.update_every=sequence"
    engine = run.build(parts_of(*words))
    engine.run(parts_of(*words).task.batch(16, torch.Generator()))
    assert engine.rule_bytes == LEAST


def test_what_runs_out_of_memory_all_the_same_is_told_with_the_prediction(left, here, monkeypatch):
    def without_memory(*a, **k):
        raise MemoryError

    parts = parts_of("rule=snap2")
    monkeypatch.setattr(build, "build_engine", without_memory)
    with pytest.raises(UserError, match=r"this needs about .*B of memory, .* and memory ran out"):
        run.run(parts, here / "x", {}, bar=False)
    assert list(here.iterdir()) == []


def test_the_window_is_no_longer_than_the_run(left):
    parts = parts_of("rule=bptt", "train.update_every=1000000", "train.tokens=160")
    assert memory.sizes(parts).window == 160 // 16 + parts.task.steps()


@pytest.mark.skipif(sys.platform != "linux", reason="control groups")
@pytest.mark.parametrize(
    ("line", "folder", "files"),
    [
        (
            "0::/a/b",
            "sys/fs/cgroup",
            ("memory.max", "memory.current", "inactive_file 30\nother 7\n"),
        ),
        (
            "4:cpu,memory:/a/b",
            "sys/fs/cgroup/memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file 30\n"),
        ),
    ],
)
def test_the_limits_of_control_groups_above_count_and_cache_does_not(line, folder, files, tmp_path):
    limit, used, stat = files
    membership = tmp_path / "cgroup"
    membership.write_text(f"9:pids:/elsewhere\n{line}\n")
    for group, most, taken in (("a/b", "max", 50), ("a", "1000", 80), ("", "5000", 90)):
        here = tmp_path / folder / group
        here.mkdir(parents=True, exist_ok=True)
        (here / limit).write_text(f"{most}\n")
        (here / used).write_text(f"{taken}\n")
        (here / "memory.stat").write_text(stat)
    found = hardware._groups(membership, str(tmp_path))
    assert sorted(count for count, _ in found) == [1000 - 50, 5000 - 60]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_an_own_limit_bounds_what_is_available():
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    free, _ = hardware.available_bytes()
    import psutil

    used = psutil.Process().memory_info().vms
    try:
        resource.setrlimit(resource.RLIMIT_AS, (used + 10**8, hard))
        count, bound = hardware.available_bytes()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert count <= 10**8 < free
    assert bound == "within RLIMIT_AS"


@pytest.mark.parametrize(
    ("task", "count"),
    [
        (TASKS["copy"](), 0),
        (TASKS["charlm"](crop=9), 0),
        (TASKS["adding"](length=5), 2 + 1 + 1),
        (TASKS["recall_after_delay"](delay=5), 10 + 10),
        (TASKS["recall_after_delay"](delay=5, code="scalar"), 1 + 10 + 10),
        (TASKS["series"]("lorenz", length=500, crop=9), 3 + 3 + 3 + 3),
    ],
)
def test_all_numbers_of_a_batch_are_counted(task, count):
    batch = task.batch(2, torch.Generator())
    kept = [x for x in (batch.inputs, batch.targets, batch.baseline) if x is not None]
    drawn = sum(x.shape[2] for x in kept if x.is_floating_point())
    assert drawn + (task.outputs if task.measures else 0) == count
    assert memory._numbers(task) == count
