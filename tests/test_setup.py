"""scripts/setup.sh looks at the interpreter before it makes anything."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "setup.sh"


def interpreter(path: Path, version: str, fits: bool) -> Path:
    """A program that answers as Python of that version does to what the script asks it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'#!/bin/sh\ncase "$2" in *sys.exit*) exit {int(not fits)};; *) echo {version};; esac\n'
    )
    path.chmod(0o755)
    return path


def run(folder: Path, **env: str) -> subprocess.CompletedProcess:
    (folder / "scripts").mkdir(exist_ok=True)
    script = shutil.copy(SCRIPT, folder / "scripts")
    environment = {"PATH": "/usr/bin:/bin", **env}
    return subprocess.run(["bash", script], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("version", ["3.10.9", "3.15.0"])
def test_a_python_of_another_version_is_refused_and_leaves_nothing(version, tmp_path):
    python = interpreter(tmp_path / "python", version, fits=False)
    ended = run(tmp_path, PYTHON=str(python))
    assert ended.returncode == 2
    assert f"is Python {version}, snaprun needs 3.11 to 3.14" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / ".venv").exists()


def test_a_python_that_does_not_run_is_refused(tmp_path):
    ended = run(tmp_path, PYTHON=str(tmp_path / "none"))
    assert ended.returncode == 2
    assert "is no Python that runs" in ended.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_venv_of_another_version_or_without_python_is_not_used(tmp_path):
    (tmp_path / ".venv").mkdir()
    assert ".venv holds no Python that runs: remove it" in run(tmp_path).stderr
    interpreter(tmp_path / ".venv" / "bin" / "python", "3.10.9", fits=False)
    ended = run(tmp_path)
    assert ended.returncode == 2
    assert ".venv has Python 3.10.9" in ended.stderr
