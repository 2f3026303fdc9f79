"""A trained character model writes text."""

import torch

from snaprun.checks import UserError
from snaprun.model.network import Network
from snaprun.seeding import stream


def sample(network: Network, prompt: bytes, length: int, temperature: float, seed: int) -> bytes:
    """Return `length` bytes that follow `prompt`, each drawn from softmax(logits/temperature).

    The prompt has at least one byte; the state starts at zero. Temperature 0 takes the
    likeliest byte. Raises UserError if the network's outputs are not finite.
    """
    generator = stream(seed, "sample")
    weights_MKJ, core = network.weights(), network.core
    state_BCK, bank = core.initial_state(1, network.dtype), network.bank(1)
    pending, drawn = list(prompt), bytearray()
    while len(drawn) < length:
        for byte in pending:
            x = torch.tensor([byte], device=core.device)
            state_BCK, bank, _ = core.advance(weights_MKJ, state_BCK, bank, x)
        logits_O = network.readout.outputs(core.seen(state_BCK, bank))[0].double().cpu()
        if not logits_O.isfinite().all():
            raise UserError("The run diverged: its network has no finite output to sample from.")
        if temperature == 0:
            byte = int(logits_O.argmax())
        else:
            # Subtracting the largest logit first keeps tiny temperatures from overflowing.
            p_O = torch.softmax((logits_O - logits_O.max()) / temperature, 0)
            byte = int(torch.multinomial(p_O, 1, generator=generator))
        drawn.append(byte)
        pending = [byte]
    return bytes(drawn)
