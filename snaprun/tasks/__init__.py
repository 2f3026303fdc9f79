"""The tasks by the name that the user types after `task=`."""

from snaprun.registry import Registry
from snaprun.tasks.base import Batch, Task
from snaprun.tasks.charlm import CharLM
from snaprun.tasks.copy import Copy

TASKS = Registry("tasks", Task, {"copy": Copy, "charlm": CharLM}, __name__)

__all__ = ["TASKS", "Batch", "CharLM", "Copy", "Task"]
