"""snaprun sample writes text with a trained character model."""

import sys

from snaprun import checks
from snaprun.commands.trained import trained
from snaprun.outcome import Outcome
from snaprun.run.checkpoint import Which
from snaprun.run.sample import sample
from snaprun.tasks import CharLM
from snaprun.terminal import say


def run(
    run: str, length: int, temperature: float, prompt: str, seed: int, checkpoint: Which = "last"
) -> Outcome:
    """Write the prompt and the text that follows it to stdout."""
    checks.at_least("length", length, 1)
    checks.within("temperature", temperature, 0.0, float("inf"), open_high=True)
    if not prompt:
        checks.refuse("prompt", prompt, "at least one character")
    folder, network = trained(run, checkpoint, task="charlm")
    widths = network.core.inputs, network.readout.parameters[-1].numel()
    if widths != (CharLM.inputs, CharLM.outputs):
        checks.refuse("run", str(folder), "a network that reads and writes bytes")
    checks.at_least("seed", seed, 0)
    begun = prompt.encode()
    said = (begun + sample(network, begun, length, temperature, seed)).decode(errors="replace")
    # Arbitrary bytes could control a terminal, so it gets visible characters; a file gets all.
    if sys.stdout.isatty():
        say(said)
    else:
        sys.stdout.write(said + "\n")
    return Outcome()
