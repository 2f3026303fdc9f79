"""Runs of a panel in the test's own process, where it is not their processes that are tested."""

import io
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from typing import BinaryIO

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton

from snaprun.cli import _main


class Inline:
    """In place of the process of `python -m snaprun …`, as `subprocess.Popen` would start it."""

    def __init__(self, command: list[str], stderr: BinaryIO, **_: object) -> None:
        assert command[:3] == [sys.executable, "-m", "snaprun"]
        said, words = io.StringIO(), sys.argv
        of_the_panel = {kind: Singleton._instances.pop(kind) for kind in (GlobalHydra, HydraConfig)}
        try:
            with redirect_stderr(said), redirect_stdout(io.StringIO()):
                self.returncode = _main(command[3:])
        except Exception:
            self.returncode = 1
            said.write(traceback.format_exc())
        finally:
            sys.argv = words
            Singleton._instances.update(of_the_panel)
            stderr.write(said.getvalue().encode())

    def poll(self) -> int:
        return self.returncode
