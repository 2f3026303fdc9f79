"""snaprun sample writes text with a trained character model."""

import sys

from snaprun import checks, config
from snaprun.outcome import Outcome
from snaprun.run import checkpoint
from snaprun.run.sample import sample
from snaprun.store import chosen, read_config
from snaprun.terminal import say


def run(run: str, length: int, temperature: float, prompt: str, seed: int) -> Outcome:
    """Write the prompt and the text that follows it to stdout."""
    checks.at_least("length", length, 1)
    checks.within("temperature", temperature, 0.0, float("inf"), open_high=True)
    if not prompt:
        checks.refuse("prompt", prompt, "at least one character")
    folder = chosen(run)
    trained = read_config(folder)
    config.run_folder(trained)
    if trained["task"]["name"] != "charlm":
        checks.refuse("run", str(folder), "a run of task=charlm", "It is one of another task.")
    network = config.untrained(trained)
    checkpoint.load_network(folder, network)
    checks.at_least("seed", seed, 0)
    begun = prompt.encode()
    said = (begun + sample(network, begun, length, temperature, seed)).decode(errors="replace")
    # Arbitrary bytes could control a terminal, so it gets visible characters; a file gets all.
    if sys.stdout.isatty():
        say(said)
    else:
        sys.stdout.write(said + "\n")
    return Outcome()
