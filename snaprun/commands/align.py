"""snaprun align compares rules' gradients with the exact gradient along a training run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from snaprun import align, checks, config, figures
from snaprun.commands import train
from snaprun.figures.aligned import as_text
from snaprun.outcome import Outcome
from snaprun.run.parts import Parts
from snaprun.store import read_run


@dataclass(frozen=True)
class Keys:
    """The keys of conf/align.yaml: the keys of a run, and the keys under `align`."""

    run: train.Keys
    options: align.AlignOptions
    candidates: dict[str, align.Candidate]

    @classmethod
    def of(cls, plain: Mapping[str, Any], sweep: bool) -> Self:
        """Read the keys from a configuration; raises UserError if they are wrong."""
        group = plain.get("align")
        if not isinstance(group, Mapping):
            checks.refuse("align", group, "keys under it, as in conf/align.yaml")
        options = align.AlignOptions(**config.arguments("align", align.AlignOptions, group))
        return cls(train.Keys(plain, sweep), options, align.candidates(options.rules, config.rule))


def run(keys: Keys) -> Outcome:
    """Train one run and compare rules' gradients with the exact gradient during training."""
    plain = keys.run.plain
    name = config.converted("name", plain["name"], str)
    written = {**plain, "name": f"{name}-align"}
    folder = config.run_folder(written)
    trained = {key: value for key, value in plain.items() if key != "align"}

    def probe(parts: Parts) -> align.Probe:
        return align.Probe(keys.options, parts, keys.candidates, plain["rule"]["name"])

    outcome = train.launch(replace(keys.run, plain=trained), folder, written, probe)
    if plain.get("dry"):
        return outcome
    files = figures.plot([folder], folder, ("alignment",), incomplete=False)
    report = [outcome.report, as_text(read_run(folder)), *map(str, files)]
    return replace(outcome, report="\n".join(report))
