"""Online training: the network, the loop, evaluation, and what is kept of a run."""
