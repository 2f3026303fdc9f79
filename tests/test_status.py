"""How runs stand, against runs that were made to stand so."""

import io
import itertools
import json
import statistics
import threading
from pathlib import Path

import pandas as pd
import pytest

from snaprun.cli import _main
from snaprun.status import Question, standing, status
from snaprun.store import RunWriter, Summary
from snaprun.terminal import duration
from tests.figures.runs import config

SUMMARY = Summary("finished", 1000, 10, 20.0, {"bpc": 0.25, "level": 9}, {})


def rows(writer: RunWriter, *tokens: int) -> RunWriter:
    """A row at each count of tokens, a hundred tokens a second."""
    for count in tokens:
        writer.row(tokens=count, updates=count, seconds=count / 100, bpc=count / 1000, level=None)
    return writer


def begun(folder: Path, total: int = 1000) -> RunWriter:
    writer = RunWriter(folder, config(train__tokens=total))
    writer.begin()
    return writer


@pytest.fixture
def runs(tmp_path):
    """A run in each state; the running one is held open by this very process."""
    with rows(begun(tmp_path / "done"), 500, 1000) as writer:
        writer.finish(SUMMARY)
    with rows(begun(tmp_path / "bad"), 500, 600) as writer:
        writer.finish(Summary("diverged", 600, 6, 6.0, {"bpc": None, "level": 2}, {}))
    with rows(begun(tmp_path / "killed"), 200, 300):
        pass
    with rows(begun(tmp_path / "broken"), 100) as writer:
        writer.fail("Traceback …")
    with begun(tmp_path / "torn") as writer:
        writer.finish(SUMMARY)
    (tmp_path / "torn" / "summary.json").write_text('{"status": "fin')
    with rows(begun(tmp_path / "at" / "work"), 100, 200, 400):
        yield tmp_path


def test_each_state_is_told(runs):
    head, *lines, totals = status(runs).splitlines()
    assert head.split() == ["run", "state", "tokens", "of", "tokens/s", "ETA", "bpc", "level"]
    told = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    assert told["done"] == "finished 1,000 1,000 50 0.25 9"
    assert told["bad"] == "diverged 600 1,000 100 2"
    assert told["killed"] == "stopped 300 1,000 100 0.3"
    assert told["broken"] == "failed 100 1,000 100 0.1"
    assert told["torn"] == "damaged 1,000"
    assert told["at/work"] == "running 400 1,000 100 6 s 0.4"
    counted = "6 runs: 1 running, 1 finished, 1 diverged, 1 failed, 1 stopped, 1 damaged; "
    assert totals == counted + "those that run end in 6 s"


@pytest.fixture
def swept(tmp_path):
    """Runs of two rates and three seeds, whose bpc is 100 lr + seed / 1000."""
    for lr, seed in itertools.product((0.01, 0.1), range(3)):
        folder = tmp_path / f"lr{lr}-{seed}"
        with RunWriter(folder, config(train__tokens=1000, optim__lr=lr, seed=seed)) as writer:
            writer.begin()
            rows(writer, 1000)
            values = {"bpc": 100 * lr + seed / 1000, "level": None}
            writer.finish(Summary("finished", 1000, 10, 20.0, values, {}))
    return tmp_path


def read(source, **asked):
    """The table as a program reads it."""
    return pd.read_csv(io.StringIO(status(source, Question(form="csv", **asked))))


def test_the_keys_that_vary_are_columns(swept):
    found = read(swept)
    assert {"seed", "optim.lr"} <= set(found)
    assert "cell.units" not in found
    assert found.bpc.tolist() == pytest.approx(
        (100 * found["optim.lr"] + found.seed / 1000).tolist()
    )


def test_a_rule_is_called_as_on_the_command_line(tmp_path):
    rules = ({"name": "snap", "n": 2}, {"name": "bptt"}, {"name": "rflo", "feedback": "random"})
    for n, rule in enumerate(rules):
        every = 8 if rule["name"] == "bptt" else 1
        with RunWriter(tmp_path / str(n), {"rule": rule, "train": {"update_every": every}}) as run:
            run.begin()
    found = read(tmp_path, columns=["rule"])
    assert found.rule.tolist() == ["snap2", "tbptt8", "rflo_random"]
    assert len(read(tmp_path, where="rule = snap2")) == 1
    assert not {"rule.name", "rule.n", "train.update_every"} & set(read(tmp_path))


@pytest.mark.parametrize(
    ("where", "runs"),
    [
        ("optim.lr < 0.05", 3),
        ("optim.lr=0.1 and seed != 1", 2),
        ("bpc>10.0005 or seed == 0", 4),
        ("run = lr0.1-2", 1),
        ("state = running", 0),
    ],
)
def test_a_condition_chooses_runs(swept, where, runs):
    assert len(read(swept, where=where)) == runs


def test_the_foot_of_the_table_counts_the_runs_that_match(swept):
    assert status(swept, Question(where="seed = 0")).endswith("2 of 6 runs match where='seed = 0'")
    none = status(swept, Question(where="state = stopped and seed = 7"))
    assert none.endswith("; state has finished; seed has 0, 1, 2")
    assert "0 of 6 runs match" in none


def test_a_single_column_needs_no_brackets(swept, capfd):
    assert _main(["status", f"source={swept}", "columns=seed", "format=csv"]) == 0
    assert capfd.readouterr().out.split() == ["seed", *"012012"]


def test_runs_are_sorted(swept):
    found = read(swept, sort=["-optim.lr", "bpc"], columns=["optim.lr", "seed"])
    assert found.values.tolist() == [[lr, seed] for lr in (0.1, 0.01) for seed in range(3)]


def test_a_group_has_the_mean_and_the_standard_deviation_of_each_metric(swept):
    found = read(swept, group=["seed"])
    assert found.columns.tolist() == ["optim.lr", "runs", "bpc", "bpc_sd", "level", "level_sd"]
    for row in found.itertuples():
        values = [100 * row[1] + seed / 1000 for seed in range(3)]
        assert row[2:5] == pytest.approx((3, statistics.mean(values), statistics.stdev(values)))
    (whole,) = read(swept, group=["seed", "optim.lr"]).itertuples()
    assert whole.runs == 6


def test_every_format_holds_the_same(swept):
    asked = {"columns": ["run", "optim.lr", "bpc", "tokens"], "sort": ["run"]}
    table = read(swept, **asked)
    assert table.tokens.dtype == "int64"
    rows = json.loads(status(swept, Question(form="json", **asked)))
    assert rows == table.to_dict("records")
    head, rule, *lines = status(swept, Question(form="markdown", **asked)).splitlines()
    assert head == "| run | optim.lr | bpc | tokens |"
    assert rule == "| --- | ---: | ---: | ---: |"
    assert [line.split(" | ")[0][2:] for line in lines] == table.run.tolist()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sort=optim.l"], "Did you mean optim.lr?"),
        (["columns=[nothing]"], "columns='nothing' is not accepted"),
        (["group=seeds"], "group='seeds' is not accepted"),
        (["format=xml"], "expected one of table, csv, json, markdown"),
        (['where="seed <"'], "where='seed <': cannot be read: expected COLUMN OPERATOR VALUE"),
        (['where="seed"'], "where='seed': cannot be read"),
        (['where="seed = 0 and"'], "cannot be read: expected COLUMN OPERATOR VALUE"),
        (['where="sed = 1"'], "sed is no column: expected one of run, state"),
        (['where="seed = 0 or foo = bar"'], "foo is no column"),
        (['where="run < 3"'], "run holds words, and < compares numbers."),
        (['where="bpc < low"'], "bpc holds numbers, and low is none."),
    ],
)
def test_a_wrong_question_is_refused_in_one_line(swept, words, said, capfd):
    assert _main(["status", f"source={swept}", *words]) == 2
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_run_that_was_resumed_in_another_setting_is_marked(tmp_path):
    for name, count in (("one", 1), ("two", 2)):
        segments = [{"tokens": 500 * n, "threads": n} for n in range(count)]
        extras = {"segments": segments}
        with rows(begun(tmp_path / name), 500, 1000) as writer:
            writer.finish(Summary("finished", 1000, 10, 20.0, {"bpc": 0.25}, {}, extras))
    _, one, two, _, last = status(tmp_path).splitlines()
    assert one.split()[:3] == ["one", "finished", "1,000"]
    assert two.split()[:3] == ["two", "finished*", "1,000"]
    assert last == "* 1 resumed in another setting: segments in summary.json"


def test_only_one_state_is_shown_but_all_are_counted(runs):
    head, line, totals = status(runs, Question("running")).splitlines()
    assert head.split()[:2] == ["run", "state"]
    assert line.startswith("at/work")
    assert totals.startswith("6 runs: ")


def test_nothing_is_touched(runs):
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    status(runs)
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_a_row_that_is_being_written_is_none_yet(tmp_path):
    with rows(begun(tmp_path), 100, 200):
        with (tmp_path / "metrics.jsonl").open("ab") as file:
            file.write(b'{"tokens": 300, "updates": 300, "sec')
        assert standing(tmp_path).tokens == 200


def test_a_whole_line_that_is_no_row_is_damage(tmp_path):
    with rows(begun(tmp_path), 100):
        with (tmp_path / "metrics.jsonl").open("ab") as file:
            file.write(b"garbage\n")
        assert standing(tmp_path).state == "damaged"


def test_the_speed_is_the_latest_and_the_newest_value_of_each_metric_is_kept(tmp_path):
    with begun(tmp_path, total=100_000) as writer:
        for count in range(1, 1001):  # 10 tokens a second at first, at last 1000
            seconds = count if count < 900 else 899 + (count - 899) / 100
            writer.row(tokens=10 * count, updates=count, seconds=seconds, bpc=float(count))
        writer.row(tokens=10_000, updates=1000, seconds=900.02, validation_bpc=1.5)
        found = standing(tmp_path)
        assert found.speed == pytest.approx(1000, rel=0.05)
        assert found.seconds_left == pytest.approx(90, rel=0.05)
        config = tmp_path / "config.yaml"
        before = config.read_text()
        for time, left in (("15m1s", 0.98), ("910.02", 10), ("2h", 90), ("3s", 0), ("null", 90)):
            config.write_text(before.replace("train:\n", f"train:\n  time: {time}\n"))
            assert standing(tmp_path).seconds_left == pytest.approx(left, rel=0.05)
        assert found.last == {"bpc": 1000.0, "validation_bpc": 1.5}


@pytest.mark.parametrize("kept", [None, 0, 1])
def test_a_done_run_without_its_last_row_is_damaged(tmp_path, kept):
    with rows(begun(tmp_path / "run"), 500, 1000) as writer:
        writer.finish(SUMMARY)
    path = tmp_path / "run" / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.unlink()
    if kept is not None:
        path.write_bytes(b"".join(lines[:kept]))
    assert standing(tmp_path / "run").state == "damaged"


def test_a_done_run_may_have_a_last_row_of_any_length(tmp_path):
    with rows(begun(tmp_path / "run"), 500) as writer:
        more = {f"quantity_{n}": 0.5 for n in range(400)}
        writer.row(tokens=1000, updates=1000, seconds=10.0, **more)
        writer.finish(SUMMARY)
    assert standing(tmp_path / "run").state == "finished"


def test_a_run_without_a_row_has_begun(tmp_path):
    with begun(tmp_path):
        found = standing(tmp_path)
    assert (found.state, found.tokens, found.total) == ("running", 0, 1000)
    assert found.seconds_left is None


def test_it_may_be_asked_while_runs_write(tmp_path):
    seen, enough = [], threading.Event()
    with begun(tmp_path, total=10**9) as writer:

        def write() -> None:
            for count in itertools.takewhile(lambda _: not enough.is_set(), itertools.count()):
                writer.row(tokens=count, updates=count, seconds=1e-3 * count, bpc=0.5)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            while len(set(seen)) < 20:
                found = standing(tmp_path)
                assert found.state == "running"
                seen.append(found.tokens)
        finally:
            enough.set()
            thread.join()
    assert seen == sorted(seen)


def test_a_long_name_keeps_its_ends_on_a_terminal(tmp_path):
    name = f"{'copy-' * 20}seed7-deadbeef"
    with begun(tmp_path / name):
        line = status(tmp_path, Question(short=True)).splitlines()[1]
        assert status(tmp_path).splitlines()[1].startswith(name)
    shown = line.split()[0]
    assert len(shown) == 60
    assert shown.startswith("copy-copy-")
    assert shown.endswith("seed7-deadbeef")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (0.2, "0 s"),
        (59, "59 s"),
        (600, "10 min"),
        (7500, "2 h 05 min"),
        (1e5, "1 d 3 h"),
    ],
)
def test_durations(seconds, shown):
    assert duration(seconds) == shown


def test_the_command_prints_it(runs, capfd):
    assert _main(["status", f"source={runs}", "state=diverged"]) == 0
    out = capfd.readouterr().out
    assert "bad" in out
    assert "6 runs: " in out
