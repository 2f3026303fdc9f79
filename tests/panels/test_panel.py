"""What a budget changes of a panel."""

from snaprun.panels import under

PANEL = {
    "rates": {"a": [1e-3], "others": [1e-2]},
    "overrides": ["sparsity=dense"],
    "selection": {"seeds": [100], "overrides": []},
    "budgets": {
        "small": {},
        "full": {
            "rates": {"a": [1e-4]},
            "overrides": ["train.tokens=9"],
            "selection": {"overrides": ["train.tokens=3"]},
        },
    },
}


def test_a_budget_replaces_keys_and_adds_overrides():
    rest = {key: value for key, value in PANEL.items() if key != "budgets"}
    assert under(PANEL, "small") == rest
    assert under(PANEL, "full") == {
        "rates": {"a": [1e-4], "others": [1e-2]},
        "overrides": ["sparsity=dense", "train.tokens=9"],
        "selection": {"seeds": [100], "overrides": ["train.tokens=3"]},
    }
