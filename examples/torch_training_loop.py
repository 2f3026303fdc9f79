"""A recurrent module inside a PyTorch program: a network learns to write this very file.

An embedding below, `snaprun.nn.GRU`, and a linear layer above read the file, character by
character, in several places at once. The loop is the usual one, but the optimiser steps after
every time step, nothing is unrolled, and the memory does not grow with time.

    python examples/torch_training_loop.py         # half a minute
    python examples/torch_training_loop.py 500     # that many time steps
"""

import math
import sys
from pathlib import Path

import torch
from torch import nn

import snaprun

LANES = 16  # places that are read side by side
REPORT = 200  # time steps between lines


def main(steps: int = 6000) -> float:
    """Return the bits per character over the last steps."""
    torch.manual_seed(0)
    text = torch.tensor(list(Path(__file__).read_bytes()))
    places = torch.arange(LANES) * len(text) // LANES

    embed = nn.Embedding(256, 32)
    rnn = snaprun.nn.GRU(32, 128, rule="snap1", sparsity=0.75)
    head = nn.Linear(128, 256)
    parameters = [p for module in (embed, rnn, head) for p in module.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=1e-3)

    state = rnn.initial_state(LANES)
    losses: list[float] = []
    for step in range(steps):
        now, following = (text[(places + t) % len(text)] for t in (step, step + 1))
        h, state = rnn(embed(now), state)
        loss = nn.functional.cross_entropy(head(h), following)
        loss.backward()  # the rule's gradient in rnn, and through its input that of the embedding
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item() / math.log(2))
        if (step + 1) % REPORT == 0:
            mean = sum(losses[-REPORT:]) / REPORT
            print(f"after {step + 1:5d} steps   {mean:.2f} bits per character", flush=True)
    last = losses[-REPORT:]
    return sum(last) / len(last)


if __name__ == "__main__":
    torch.set_num_threads(1)  # quickest for a small network
    main(*map(int, sys.argv[1:]))
