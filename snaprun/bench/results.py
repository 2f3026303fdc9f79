"""The results of a bench as tables and as JSON."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from snaprun.files import write_atomically


@dataclass
class Results:
    """The tables of a bench by name: the measured parts, the ceilings and the ratios."""

    machine: dict[str, Any]
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    def write(self, file: Path) -> None:
        """Write everything as one JSON object; a value that was not measured is null."""
        content: dict[str, Any] = {"machine": self.machine}
        for name, table in self.tables.items():
            content[name] = [
                {key: None if pd.isna(value) else value for key, value in row.items()}
                for row in table.to_dict(orient="records")
            ]
        write_atomically(file, json.dumps(content, indent=1) + "\n")
