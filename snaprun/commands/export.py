"""snaprun export writes a trained run as plain state dicts of torch.nn."""

from pathlib import Path

from snaprun import checks
from snaprun.commands.trained import trained
from snaprun.nn import export
from snaprun.outcome import Outcome
from snaprun.run.checkpoint import Which


def run(run: str, out: str = "model.pt", checkpoint: Which = "last") -> Outcome:
    """Write the file `out`, and beside it a page that says how PyTorch loads it; replace both."""
    path = Path(out)
    if path.suffix != ".pt":
        checks.refuse("out", out, "a file that ends in .pt")
    folder, network = trained(run, checkpoint)
    page = export.write(path, network, folder.name)
    return Outcome(report=f"{path} and {page}: the network of {folder}. {export.WEIGHTS}")
