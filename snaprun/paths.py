"""The place of the configuration files."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def conf_dir() -> Path:
    """Return the folder of the YAML files: `snaprun/conf` in a wheel, else `conf` beside it."""
    packaged = _PACKAGE / "conf"
    return packaged if (packaged / "train.yaml").is_file() else _PACKAGE.parent / "conf"
