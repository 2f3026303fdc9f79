"""Workers and the loop over them, with jobs that do nothing but end in a certain way."""

import os
import signal
import sys
import threading
import time
from functools import partial
from subprocess import Popen

import pytest

from snaprun.checks import Stopped, UserError
from snaprun.outcome import Outcome, Status
from snaprun.run.signals import StopSignals
from snaprun.workers import Here, Joblib, Processes, Slurm, Workers, dispatch, needed


def done(report: str = "") -> Outcome:
    return Outcome(report=report)


def killed() -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def broken() -> Outcome:
    raise ValueError("no\nreason")


def endless(mark: str) -> Outcome:
    """Until a signal comes, as a run does; the file `mark` says that it has begun."""
    with StopSignals() as stop:
        open(mark, "w").close()
        try:
            while True:
                stop.check()
                time.sleep(0.01)
        except Stopped as stopped:
            return Outcome(Status.STOPPED, signum=stopped.signum)


def deaf(mark: str, asked: str) -> Outcome:
    """Takes no signal but one that kills; the file `asked` says that one has come."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: open(asked, "w").close())
    with open(mark, "w") as file:
        file.write(str(os.getpid()))
    while True:
        time.sleep(0.01)


def swept(workers: Workers, jobs: list) -> dict[int, Outcome]:
    """How `jobs` ended; the end of the sweep itself is under -1."""
    outcomes: dict[int, Outcome] = {}

    def record(number: int, outcome: Outcome) -> None:
        assert number not in outcomes
        outcomes[number] = outcome

    try:
        dispatch(workers, [lambda job=job: job for job in jobs], record)
    except Stopped as stopped:
        outcomes[-1] = Outcome(Status.STOPPED, signum=stopped.signum)
    return outcomes


def signal_when(exists, signum: int) -> None:
    """Send `signum` to this process as soon as the file is there."""

    def send() -> None:
        while not exists.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signum)

    threading.Thread(target=send, daemon=True).start()


def local_slurm(folder) -> Slurm:
    return Slurm("local", folder, {"timeout_min": 60})


@pytest.fixture(params=["here", "joblib", "submitit"])
def workers(request, tmp_path):
    kinds = {"here": Here, "joblib": lambda: Joblib(2), "submitit": lambda: local_slurm(tmp_path)}
    return kinds[request.param]()


def test_every_outcome_comes_back(workers):
    outcomes = swept(workers, [partial(done, str(n)) for n in range(3)])
    assert outcomes == {n: Outcome(report=str(n)) for n in range(3)}


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_what_runs_and_nothing_else_starts(workers, signum, tmp_path):
    mark = tmp_path / "begun"
    signal_when(mark, signum)
    # SLURM has been handed all jobs when the first begins.
    others = 0 if isinstance(workers, Slurm) else 9
    never = [partial(endless, str(tmp_path / f"{n}")) for n in range(others)]
    outcomes = swept(workers, [partial(endless, str(mark)), *never])
    assert outcomes.pop(-1).signum == signum
    assert outcomes.pop(0).status is Status.STOPPED
    assert [outcomes[n].status for n in range(2, others)] == [Status.NOT_STARTED] * (others - 2)


def test_further_jobs_come_when_all_have_ended(workers):
    ended: list[str] = []
    rounds = iter([["0", "1"], ["2"], ["3"]])

    def more() -> list:
        batch = next(rounds, [])
        assert len(ended) == int(batch[0] if batch else 4)
        return [lambda name=name: partial(done, name) for name in batch]

    dispatch(workers, (), lambda number, outcome: ended.append(outcome.report), more)
    assert sorted(ended) == ["0", "1", "2", "3"]


def command(code: str) -> Popen:
    return Popen([sys.executable, "-c", code])


@pytest.mark.parametrize("kind", ["joblib", "processes"])
def test_a_second_interrupt_ends_at_once(kind, tmp_path):
    mark, asked = tmp_path / "begun", tmp_path / "asked"
    signal_when(mark, signal.SIGINT)
    signal_when(asked, signal.SIGINT)
    outcomes: dict[int, Outcome] = {}
    if kind == "joblib":
        workers, job = Joblib(1), lambda: partial(deaf, str(mark), str(asked))
    else:
        code = f"from tests.test_workers import deaf; deaf({str(mark)!r}, {str(asked)!r})"
        workers, job = Processes(1), partial(command, code)
    with pytest.raises(KeyboardInterrupt):
        dispatch(workers, [job, job], outcomes.__setitem__)
    assert [outcomes[n].status for n in (0, 1)] == [Status.STOPPED, Status.NOT_STARTED]
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


@pytest.mark.parametrize("kind", ["joblib", "submitit"])
def test_a_job_that_cannot_tell_its_end_has_failed_and_the_others_go_on(kind, tmp_path):
    workers = Joblib(2) if kind == "joblib" else local_slurm(tmp_path)
    outcomes = swept(workers, [done, killed, broken, done])
    problems = [outcomes.pop(n) for n in (1, 2)]
    assert outcomes == {n: Outcome() for n in (0, 3)}
    assert all(outcome.status is Status.FAILED for outcome in problems)
    said = [outcome.problem for outcome in problems]
    assert all(line and "\n" not in line for line in said)
    if kind == "joblib":
        assert said == ["its process died: SIGKILL(-9)", "ValueError: no reason"]


def test_the_exit_code_of_a_process_tells_how_it_ended():
    outcomes: dict[int, Outcome] = {}
    jobs = [partial(command, f"raise SystemExit({code})") for code in (0, 1, 2)]
    dispatch(Processes(2), jobs, outcomes.__setitem__)
    ends = [outcomes[n].status for n in range(3)]
    assert ends == [Status.DONE, Status.FAILED, Status.REFUSED]


def test_a_mistake_told_by_one_process_stops_the_others():
    outcomes: dict[int, Outcome] = {}
    jobs = [partial(command, code) for code in ("", "import time; time.sleep(600)", "")]

    def record(number: int, outcome: Outcome) -> None:
        outcomes[number] = outcome
        if outcome.status is Status.DONE:
            raise UserError("no other will do better")

    with pytest.raises(UserError, match="no other"):
        dispatch(Processes(2), jobs, record)
    ends = [outcomes[n].status for n in range(3)]
    assert ends == [Status.DONE, Status.STOPPED, Status.NOT_STARTED]


@pytest.mark.parametrize("count", [0, -1000])
def test_a_number_of_processes_is_checked(count):
    with pytest.raises(UserError, match=r"n_jobs=.*-1 for all cores"):
        Joblib(count)


def test_what_submitit_refuses_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"hydra\.launcher\.cluster=local: .*nonsense"):
        Slurm("local", tmp_path, {"nonsense": 3})


@pytest.mark.parametrize("package", ["joblib", "ray", "submitit"])
def test_a_package_that_is_missing_is_named_with_its_extra(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    extra = "slurm" if package == "submitit" else package
    with pytest.raises(UserError, match=rf"pip install 'snaprun\[{extra}\]'"):
        needed(package)
