"""Pictures that no test looks at are not drawn."""

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def only_tables(monkeypatch):
    """Empty files in place of the pictures, which take most of the time."""
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: None)
