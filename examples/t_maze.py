"""An actor-critic in a T-maze learns online what TBPTT(1) cannot learn: to remember.

A cue at the entrance says on which side the reward will be. Ten cells of corridor follow, and a
junction, where the agent turns left or right (Bakker 2002; here it walks by itself, and the turn is
its one decision). In the corridor it sees noise, which hides the trace of the cue that an untrained
state keeps. Agents walk at different places, and at every time step the network learns from some.

Credit for a turn has to reach the entrance, eleven steps before. RTRL and SnAp-1 have carried the
influence of the weights along. TBPTT(1), the same network in the same loop with the gradient
through the last step alone, turns by chance.

    python examples/t_maze.py              # five seeds, about two minutes
    python examples/t_maze.py 1500 2       # time steps, seeds
"""

import sys

import numpy as np
import torch

import snaprun

LANES, CORRIDOR = 16, 10


class TMaze:
    """Mazes side by side, in numpy; a step moves every agent on by a cell."""

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)
        self.goal = self.random.integers(2, size=LANES)  # 0 left, 1 right
        self.cell = np.arange(LANES) % (CORRIDOR + 2)

    def look(self) -> np.ndarray:
        """Return what the agents see, shape (LANES, 4): cue left and right, noise, junction."""
        seen = np.where(self.cell == 0, self.goal, np.where(self.cell <= CORRIDOR, 2, 3))
        bright = np.where(seen == 2, self.random.normal(size=LANES), 1).astype(np.float32)
        return bright[:, None] * np.eye(4, dtype=np.float32)[seen]

    def step(self, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rewards, and which agents were at the junction and begin anew."""
        ended = self.cell == CORRIDOR + 1
        rewards = np.where(ended, np.where(turns == self.goal, 1.0, -1.0), 0.0)
        self.goal = np.where(ended, self.random.integers(2, size=LANES), self.goal)
        self.cell = np.where(ended, 0, self.cell + 1)
        return rewards.astype(np.float32), ended


class TruncatedGRU(torch.nn.GRU):
    """TBPTT(1), called as snaprun.nn.GRU is: no gradient goes back beyond the last step."""

    def initial_state(self, batch):
        return torch.zeros(1, batch, self.hidden_size)

    def forward(self, x, state):
        h, state = super().forward(x[None], state)
        return h[0], state.detach()

    def reset(self, state, lanes):
        return state.masked_fill(lanes[None, :, None], 0)


def success(rule: str, seed: int, steps: int) -> float:
    """Return the share of right turns in the last quarter of the steps, while it learns."""
    torch.manual_seed(seed)
    start, heads = TruncatedGRU(4, 16), torch.nn.Linear(16, 3)  # two logits and a value
    rnn = start if rule == "tbptt1" else snaprun.nn.from_torch(start, rule=rule)
    optimiser = torch.optim.Adam([*rnn.parameters(), *heads.parameters()], lr=3e-3)
    maze, state, right = TMaze(seed), rnn.initial_state(LANES), []
    for step in range(steps):
        h, state = rnn(torch.from_numpy(maze.look()), state)
        logits, value = heads(h).split([2, 1], 1)
        policy = torch.distributions.Categorical(logits=logits)
        turns = policy.sample()
        rewards, ended = map(torch.from_numpy, maze.step(turns.numpy()))
        advantage = rewards - value[:, 0]
        actor, critic = -advantage.detach() * policy.log_prob(turns), advantage.square()
        (actor + critic)[ended].sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        state = rnn.reset(state, ended)
        if step >= 3 * steps // 4:
            right += (rewards[ended] > 0).tolist()
    return float(np.mean(right))


def main(steps: int = 3000, seeds: int = 5) -> dict[str, list[float]]:
    """Return the success of every rule with every seed, and print it as a table."""
    found: dict[str, list[float]] = {}
    print("right turns (%)" + "".join(f"   seed {seed}" for seed in range(seeds)))
    for rule in ("rtrl", "snap1", "tbptt1"):
        found[rule] = [success(rule, seed, steps) for seed in range(seeds)]
        print(f"{rule:15s}" + "".join(f"{100 * share:9.1f}" for share in found[rule]), flush=True)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)  # quickest for a small network
    main(*map(int, sys.argv[1:]))
