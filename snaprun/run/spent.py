"""What a run has: its parameters, and what a token of it costs."""

from snaprun import hardware
from snaprun.engine.base import Engine
from snaprun.model.network import Network


def parameters(network: Network) -> dict[str, int]:
    """Return the number of live parameters of every part."""
    counted = {"recurrent": network.core.layout.size}
    counted["readout"] = sum(p.numel() for p in network.readout.parameters)
    if network.attention:
        counted["attention"] = sum(p.numel() for p in network.attention)
    return counted


def cost(engine: Engine, lanes: int, tokens: int, ms_per_token: float) -> dict[str, float]:
    """Return measured and analytic costs of core and rule, with the readout's counted apart."""
    number = engine.number_bytes
    counted = engine.rule.in_numbers(number).cost(engine.network.core, engine.longest_window)
    forwards = engine.forwards
    replayed = {}
    if forwards is not None:
        replayed = {"forwards": forwards * lanes / tokens, "forwards_analytic": counted.forwards}
    return {
        "ms_per_token": ms_per_token,
        "macs_per_token": counted.macs,
        "readout_macs_per_token": engine.network.readout.macs,
        **replayed,  # forward steps a step
        "state_bytes": engine.rule_bytes,
        "state_bytes_analytic": counted.state * number,
        "peak_bytes": hardware.peak_bytes(),  # of the whole process
    }
