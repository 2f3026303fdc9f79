"""Where the configuration lies."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def conf_dir() -> Path:
    """The folder of the YAML files: `snaprun/conf` of a wheel, or `conf` beside the package."""
    packaged = _PACKAGE / "conf"
    return packaged if (packaged / "train.yaml").is_file() else _PACKAGE.parent / "conf"
