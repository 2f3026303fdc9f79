"""The result of one comparison, and a table of such results."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Check:
    """What was compared, the error that was found, and the largest error that passes.

    >>> Check("gradient, autograd", error=1e-16, bound=1e-10).passed
    True
    """

    what: str
    error: float
    bound: float
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether error ≤ bound; a NaN does not pass."""
        return self.error <= self.bound


def equal(what: str, got: Tensor, want: Tensor, bound: float = 1e-10) -> Check:
    """Check max |got - want| / max |want| ≤ bound; the absolute error if `want` is all zeros."""
    if got.shape != want.shape:
        shapes = f"shape {tuple(got.shape)}, not {tuple(want.shape)}"
        return Check(what, float("inf"), bound, shapes)
    if not want.numel():
        return Check(what, 0.0, bound, "no entries")
    scale = float(want.abs().max())
    return Check(what, float((got - want).abs().max()) / (scale or 1.0), bound)


def as_text(checks: Sequence[Check]) -> str:
    """Format one aligned row per check under a header: what, error, bound, verdict, detail."""
    rows = [("compared", "error", "bound", "", "")]
    for check in checks:
        verdict = "ok" if check.passed else "MISMATCH"
        rows.append((check.what, f"{check.error:.1e}", f"{check.bound:.1e}", verdict, check.detail))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pads = (str.ljust, str.rjust, str.rjust, str.ljust, str.ljust)
    lines = []
    for row in rows:
        cells = [pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
