"""The tasks by the name that the user types after `task=`."""

from snaprun.registry import Registry
from snaprun.tasks.base import Batch, Evaluation, Task
from snaprun.tasks.charlm import CharLM
from snaprun.tasks.copy import Copy
from snaprun.tasks.draw import checked, draw

TASKS = Registry("tasks", Task, {"copy": Copy, "charlm": CharLM}, __name__)

__all__ = ["TASKS", "Batch", "CharLM", "Copy", "Evaluation", "Task", "checked", "draw"]
