"""The trained parameters of a run on disk."""

import os
from pathlib import Path

import torch

from snaprun import checks
from snaprun.train.network import Network

CHECKPOINT = "checkpoint.pt"
VERSION = 1


def save(folder: Path, network: Network) -> None:
    """Write mask and parameters to `folder`/checkpoint.pt, by rename."""
    path = folder / CHECKPOINT
    temporary = path.with_suffix(".tmp")
    saved = {name: value.cpu() for name, value in network.state_dict().items()}
    with temporary.open("wb") as file:
        torch.save({"version": VERSION, "network": saved}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load(folder: Path, network: Network) -> None:
    """Parameters of `folder`/checkpoint.pt into `network`; never runs code from the file."""
    path = folder / CHECKPOINT
    remedy = "Train the run to its end first: `snaprun train` writes the checkpoint."
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        version = saved["version"]
    except FileNotFoundError:
        checks.refuse("run", str(folder), f"a folder that holds {CHECKPOINT}", remedy)
    except Exception as error:  # torch.load raises many types for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        checks.refuse("checkpoint", str(path), "a readable checkpoint", f"It says: {reason}")
    if version != VERSION:
        checks.refuse(f"version of {path}", version, f"{VERSION}", "Use the snaprun that wrote it.")
    try:
        network.load_state_dict(saved["network"])
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        checks.refuse("checkpoint", str(path), "parameters that fit the run's config", str(error))
