"""All that a run of the bench found, as tables, as text and as JSON."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from snaprun.files import write_atomically


@dataclass
class Results:
    """Tables by name: the parts, ceilings and ratios, those that there are."""

    machine: dict[str, Any]
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    def write(self, file: Path) -> None:
        """Everything as one JSON object; what was not measured is null."""
        content: dict[str, Any] = {"machine": self.machine}
        for name, table in self.tables.items():
            content[name] = [
                {key: None if pd.isna(value) else value for key, value in row.items()}
                for row in table.to_dict(orient="records")
            ]
        write_atomically(file, json.dumps(content, indent=1) + "\n")
