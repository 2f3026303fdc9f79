"""Run the jobs of a sweep in this process, in other local processes or on other nodes."""

from snaprun.workers.base import Here, Job, Workers, dispatch, needed
from snaprun.workers.joblib import Joblib
from snaprun.workers.processes import Processes
from snaprun.workers.ray import Ray
from snaprun.workers.slurm import Slurm

__all__ = ["Here", "Job", "Joblib", "Processes", "Ray", "Slurm", "Workers", "dispatch", "needed"]
