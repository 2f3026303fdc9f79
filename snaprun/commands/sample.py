"""snaprun sample writes text with a trained character model."""

import sys
from dataclasses import dataclass

from snaprun import checks, config
from snaprun.commands.base import FlatKeys
from snaprun.outcome import Outcome
from snaprun.run import checkpoint
from snaprun.run.sample import sample
from snaprun.store import chosen, read_config
from snaprun.terminal import say


@dataclass(frozen=True)
class Keys(FlatKeys):
    """The keys of conf/sample.yaml."""

    run: str
    length: int
    temperature: float
    prompt: str
    seed: int


def run(keys: Keys) -> Outcome:
    """Write the prompt and the text that follows it to stdout."""
    length = checks.at_least("length", keys.length, 1)
    temperature = checks.within("temperature", keys.temperature, 0.0, float("inf"), open_high=True)
    prompt = keys.prompt.encode()
    if not prompt:
        checks.refuse("prompt", keys.prompt, "at least one character")
    folder = chosen(keys.run)
    trained = read_config(folder)
    config.run_folder(trained)
    if trained["task"]["name"] != "charlm":
        checks.refuse("run", str(folder), "a run of task=charlm", "It is one of another task.")
    network = config.untrained(trained)
    checkpoint.load_network(folder, network)
    seed = checks.at_least("seed", keys.seed, 0)
    said = (prompt + sample(network, prompt, length, temperature, seed)).decode(errors="replace")
    # Arbitrary bytes could control a terminal, so it gets visible characters; a file gets all.
    if sys.stdout.isatty():
        say(said)
    else:
        sys.stdout.write(said + "\n")
    return Outcome()
