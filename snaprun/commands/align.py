"""snaprun align compares rules' gradients with the exact gradient along a training run."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from snaprun import align, checks, config, figures
from snaprun.commands import train
from snaprun.figures.aligned import as_text
from snaprun.outcome import Outcome
from snaprun.run.parts import Parts
from snaprun.store import read_run


def run(plain: Mapping[str, Any], sweep: bool) -> Outcome:
    """Train one run and compare rules' gradients with the exact gradient during training."""
    group = plain.get("align")
    if not isinstance(group, Mapping):
        checks.refuse("align", group, "keys under it, as in conf/align.yaml")
    options = align.AlignOptions(**config.arguments("align", align.AlignOptions, group))
    candidates = align.candidates(options.rules, config.rule)
    name = config.converted("name", plain["name"], str)
    written = {**plain, "name": f"{name}-align"}
    folder = config.run_folder(written)
    trained = {key: value for key, value in plain.items() if key != "align"}

    def probe(parts: Parts) -> align.Probe:
        return align.Probe(options, parts, candidates, plain["rule"]["name"])

    outcome = train.launch(trained, sweep, folder, written, probe)
    if plain.get("dry"):
        return outcome
    files = figures.plot([folder], folder, ("alignment",), incomplete=False)
    report = [outcome.report, as_text(read_run(folder)), *map(str, files)]
    return replace(outcome, report="\n".join(report))
