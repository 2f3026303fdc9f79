"""Each tracker holds the rows of metrics.jsonl, whatever happened to the run."""

import json
import sys
from typing import ClassVar

import psutil
import pytest

from snaprun.cli import _main
from snaprun.run import launch, loop
from snaprun.store import RunWriter, Summary, read_config
from snaprun.trackers import TRACKERS, Tracker, Trackers
from tests.run.test_resume import StopAfter
from tests.trackers import readers

ALL = ("tensorboard", "trackio", "wandb", "mlflow")
TINY = (
    *("train", "rule=snap1", "cell.units=8", "readout=linear", "train.lanes=4"),
    *("train.log_every=100", "train.eval_every=300", "train.checkpoint_every=200"),
    *("task=adding", "task.length=10", "dtype=float64"),
)


def train(*words: str) -> int:
    return _main([*TINY, *words])


def only_run(here):
    (folder,) = (here / "results").glob("*/*-seed0-*")
    return folder


def assert_all_hold_the_rows(run, here):
    """Returns what three of the trackers hold beside the rows."""
    readers.in_tensorboard(run)
    uri = f"sqlite:///{here}/results/mlflow.db"
    return readers.in_trackio(run), readers.in_wandb(run), readers.in_mlflow(run, uri)


def test_four_at_once_are_read_back_by_their_own_code(places, capfd):
    assert train("logger=[tensorboard,trackio,wandb,mlflow]", "train.tokens=1000") == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert len(said.out.splitlines()) == 3  # the run's own report
    run = only_run(places)
    assert len(readers.rows_of(run)) > 10
    trackio, wandb, mlflow = assert_all_hold_the_rows(run, places)

    summary = json.loads((run / "summary.json").read_text())
    assert trackio.config["_Group"] == wandb["run"][0].run_group == "adding"
    assert trackio.config["cell"]["units"] == 8
    assert trackio.config["summary"]["metrics"] == summary["metrics"]
    assert wandb["run"][0].display_name == run.name
    assert readers.items(wandb["run"][0].config.update)["cell"]["units"] == 8
    kept = readers.items(pair for record in wandb["summary"] for pair in record.update)
    assert kept["summary"]["metrics"] == summary["metrics"]
    assert wandb["exit"][0].exit_code == 0
    assert mlflow.data.params["cell.units"] == "8"
    assert not {"results", "logger.wandb.mode"} & mlflow.data.params.keys()
    assert mlflow.data.tags["summary.status"] == "finished"
    assert mlflow.info.status == "FINISHED"


def test_a_run_that_is_stopped_resumed_and_made_longer_has_no_row_twice(places):
    words = ("logger=[trackio,wandb,mlflow]", "tensorboard=true")
    looks, stops = 40, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "PIECE_SECONDS", 0.0)  # a look before every time step
        while True:
            patch.setattr(launch, "StopSignals", lambda looks=looks: StopAfter(looks))
            if train(*words, "train.tokens=450") == 0:
                break
            looks, stops = looks + 60, stops + 1
            _, _, mlflow = assert_all_hold_the_rows(only_run(places), places)
            assert mlflow.info.status == "KILLED"
    assert stops >= 2
    assert_all_hold_the_rows(only_run(places), places)
    # The last rows of a run are those of its end, which a longer run does not have.
    assert train(*words, "train.tokens=700") == 0
    _, _, mlflow = assert_all_hold_the_rows(only_run(places), places)
    assert mlflow.data.params["train.tokens"] == "700"


def made(name, here):
    keys = {
        "tensorboard": {},
        "trackio": {"project": "snaprun", "group": "g"},
        "wandb": {"project": "snaprun", "group": "g"},
        "mlflow": {"uri": f"sqlite:///{here}/results/mlflow.db", "experiment": "e"},
    }
    return Trackers({name: TRACKERS[name](**keys[name])})


def write(writer, *tokens):
    for count in tokens:
        # Two rows may have one data-time: of training and of validation. Their clock must not be
        # ahead of the machine's.
        writer.row(tokens=count, updates=count, seconds=count / 70, bpc=1 / count, level=None)
        writer.row(tokens=count, updates=count, seconds=count / 69, **{"align/snap 1/z": 1e-300})


@pytest.mark.parametrize("name", ALL)
def test_rows_that_a_killed_run_no_longer_has_are_taken_back(name, places):
    read = getattr(readers, f"in_{name}")
    run = places / "results" / "e" / "run"
    beside = [f"sqlite:///{places}/results/mlflow.db"] if name == "mlflow" else []
    with RunWriter(run, {"seed": 0}, made(name, places)) as writer:
        writer.begin()
        write(writer, 16, 32)
        mark = writer.mark()
        write(writer, 48, 64)
    read(run, *beside)
    with RunWriter(run, {"seed": 0}) as writer:  # without the tracker
        writer.resume(mark)
        write(writer, 40)
        mark = writer.mark()
    for tokens in (56, 72):  # first after rows of another attempt, then after its own
        with RunWriter(run, {"seed": 0}, made(name, places)) as writer:
            writer.resume(mark)
            write(writer, tokens)
            mark = writer.mark()
        read(run, *beside)
    with RunWriter(run, {"seed": 0}, made(name, places)) as writer:
        writer.begin()  # as after the loss of the checkpoint
        write(writer, 8)
        writer.finish(Summary("finished", 8, 8, 1.0, {}, {}))
    read(run, *beside)


def test_a_run_that_is_gone_from_mlflow_is_written_anew(places):
    import mlflow

    run, uri = places / "results" / "e" / "run", f"sqlite:///{places}/results/mlflow.db"
    for gone in ("deleted", "unknown", ""):
        with RunWriter(run, {"seed": 0}, made("mlflow", places)) as writer:
            writer.begin()
            write(writer, 16, 32)
        held = readers.in_mlflow(run, uri)
        mlflow.MlflowClient(uri).delete_run(held.info.run_id)
        if gone == "unknown":
            (run / "trackers.json").write_text('{"mlflow": "0123456789abcdef"}')


class Failing(Tracker):
    """Fails in one method."""

    def __init__(self, where: str, log: list[str]):
        self._where, self._log = where, log

    def _do(self, what):
        self._log.append(what)
        if what == self._where:
            raise ConnectionError("no\nnetwork")

    def open(self, run, rows, known):
        self._do("open")
        return "mine"

    def write(self, rows):
        self._do("write")

    def close(self, summary):
        self._do("close")


@pytest.mark.parametrize("where", ["open", "write", "close"])
def test_a_tracker_that_fails_ends_alone_with_one_warning(where, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("snaprun.trackers.several.EVERY", 0.0)
    log, board = [], TRACKERS["tensorboard"]()
    trackers = Trackers({"bad": Failing(where, log), "tensorboard": board})
    with RunWriter(tmp_path / "e" / "run", {}, trackers) as writer:
        writer.begin()
        write(writer, 16, 32)
        writer.finish(Summary("finished", 32, 32, 1.0, {}, {}))
    readers.in_tensorboard(tmp_path / "e" / "run")
    assert len(readers.rows_of(tmp_path / "e" / "run")) == 4
    (record,) = caplog.records
    assert record.getMessage() == (
        "logger=bad fails (ConnectionError: no network). The run continues without it; "
        "metrics.jsonl has all rows."
    )
    assert log[-2:] == [where, "close"]
    assert log.count(where) == (2 if where == "close" else 1)


def test_a_full_disk_ends_the_event_file_and_not_the_run(tmp_path, caplog, monkeypatch):
    full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with RunWriter(tmp_path / "e" / "run", {}, made("tensorboard", tmp_path)) as writer:
        writer.begin()
        (board,) = writer._trackers._trackers.values()  # pyright: ignore
        board._file.close()
        board._file = full
        write(writer, 16)
        writer.finish(Summary("finished", 16, 16, 1.0, {}, {}))
    assert "logger=tensorboard fails (OSError: [Errno 28] No space left on device)" in caplog.text
    assert len(readers.rows_of(tmp_path / "e" / "run")) == 2
    full.close()


LIBRARY = {"tensorboard": "tensorboard.compat.proto.event_pb2", "mlflow": "sqlalchemy"}


@pytest.mark.parametrize("name", ALL)
def test_a_package_that_is_missing_is_named_before_anything_is_written(
    name, here, monkeypatch, capfd
):
    module = LIBRARY.get(name, name)
    if name == "trackio":
        module = "trackio.sqlite_storage"
    monkeypatch.setitem(sys.modules, module, None)
    assert train(f"logger={name}") == 2
    said = capfd.readouterr().err
    assert said.startswith(f"snaprun: logger={name} needs the package {module}, which is not")
    assert f"pip install 'snaprun[{name}]'" in said
    assert said.count("\n") == 1
    assert not (here / "results").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["logger=[wandb,mlfow]"], "logger=mlfow is not accepted: expected one of mlflow, tens"),
        (["logger=null"], "no tracker is logger=[]."),
        (["logger.wandb.mode=online"], "It belongs to logger=wandb."),
        (["logger=wandb", "logger.mode=online"], "Did you mean logger.wandb.mode?"),
        (["logger=wandb", "logger.wandb.mode=onlin"], "expected one of offline, online."),
        (["logger=wandb", "logger.wandb.mode=online"], "needs an API key: run `wandb login`"),
        (["logger=trackio", "logger.trackio.project=a b"], "expected letters, digits, _ and -"),
        (["logger=mlflow", "logger.mlflow.uri=5"], "logger.mlflow.uri=5 is not accepted"),
        (["+logger.mine=5"], "logger='mine' is not accepted: expected one of mlflow"),
        (["++logger.wandb=5"], "logger.wandb=5 is not accepted: expected a mapping"),
    ],
)
def test_a_mistake_is_refused_in_one_line(words, said, here, capfd, monkeypatch):
    for place in ("HOME", "WANDB_CONFIG_DIR"):  # no API key there
        monkeypatch.setenv(place, str(here))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert train(*words) == 2
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (here / "results").exists()


MINE = '''
from snaprun.trackers import TRACKERS, Tracker


class Mine(Tracker):
    """Writes rows to a file of its own."""

    def __init__(self, file: str):
        self._file = file

    def open(self, run, rows, known):
        open(self._file, "w").close()
        self.write(rows)
        return ""

    def write(self, rows):
        with open(self._file, "a") as file:
            file.writelines(f"{row['tokens']}\\n" for row in rows)

    def close(self, summary):
        self.write([summary])


TRACKERS["mine"] = Mine
'''


def test_a_tracker_of_the_users_is_one_class_and_one_file(here, monkeypatch):
    (here / "my_tracker.py").write_text(MINE)
    (here / "conf" / "logger").mkdir(parents=True)
    yaml = "# @package logger.mine\nfile: rows.txt\n"
    (here / "conf" / "logger" / "mine.yaml").write_text(yaml)
    words = ("--config-dir", "conf", "plugins=[my_tracker]", "logger=[mine,tensorboard]")
    monkeypatch.delitem(sys.modules, "my_tracker", raising=False)
    try:
        assert train(*words, "train.tokens=500", "logger.mine.file=mine.txt") == 0
    finally:
        TRACKERS.pop("mine", None)
    written = [int(line) for line in (here / "mine.txt").read_text().splitlines()]
    rows = readers.rows_of(only_run(here))
    assert written == [*(row["tokens"] for row in rows), rows[-1]["tokens"]]


def test_where_rows_go_changes_neither_the_name_of_a_run_nor_its_table(here, capfd):
    assert train("train.tokens=200") == 0
    assert train("train.tokens=200", "logger=tensorboard", "name=other") == 0
    one, two = sorted((here / "results").glob("*/*-seed0-*"))
    assert one.name == two.name
    assert read_config(two)["logger"] == {"tensorboard": {}}
    capfd.readouterr()
    assert _main(["status", "source=results", "format=csv"]) == 0
    assert "logger" not in capfd.readouterr().out


class OnServer:
    """A run of W&B as its server holds it; with `id` and `resume` the library continues it."""

    runs: ClassVar[dict[str, "OnServer"]] = {}

    def __init__(self):
        self.rows, self.summary = [], {}

    @classmethod
    def init(cls, *, id, resume, mode, **choices):
        assert (resume, mode) == ("allow", "online")
        return cls.runs.setdefault(id, cls())

    @property
    def step(self):
        return len(self.rows)

    def log(self, row):
        self.rows.append(row)
        self.summary |= row

    def define_metric(self, name, step_metric):
        assert (name, step_metric) == ("*", "tokens")

    def finish(self, exit_code=0):
        pass


def test_online_a_run_goes_on_where_the_server_has_its_beginning(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setattr(OnServer, "runs", {})
    monkeypatch.setattr(wandb, "init", OnServer.init)
    monkeypatch.setattr(wandb, "login", lambda **choices: True)
    run = tmp_path / "e" / "run"

    def session(mark, *tokens):
        online = TRACKERS["wandb"](project="p", group="g", mode="online")
        with RunWriter(run, {}, Trackers({"wandb": online})) as writer:
            writer.resume(mark) if mark else writer.begin()
            for count in tokens:
                write(writer, count)
                mark = mark if count == 99 else writer.mark()
        assert [*OnServer.runs.values()][-1].rows == readers.rows_of(run)
        return mark

    mark = session(None, 16, 32)
    mark = session(mark, 48, 99)  # the last rows come after the checkpoint
    assert len(OnServer.runs) == 1
    session(mark, 64)
    assert len(OnServer.runs) == 2


def test_a_name_that_is_not_ours_leads_out_of_no_folder(places):
    run, mine = places / "results" / "e" / "run", places / "results" / "e" / "mine"
    for folder in (run / "wandb" / "offline-run-1-x", mine):
        folder.mkdir(parents=True)
    (run / "trackers.json").write_text('{"wandb": "x/../../../mine"}')
    with RunWriter(run, {"seed": 0}, made("wandb", places)) as writer:
        writer.begin()
        write(writer, 16)
    assert mine.is_dir()
    (known,) = json.loads((run / "trackers.json").read_text()).values()
    assert len(list((run / "wandb").glob(f"offline-run-*-{known}"))) == 1


def test_nothing_leaves_the_machine_where_nobody_asked_for_it(places):
    assert train("logger=[trackio,wandb,mlflow]", "train.tokens=200") == 0
    cores = [
        child.cmdline() for child in psutil.Process().children() if "wandb-core" in child.name()
    ]
    assert cores
    assert all("--no-observability" in words for words in cores)
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert is_telemetry_disabled()
