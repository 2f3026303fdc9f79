"""A training run has a loop, checkpoints, a memory check and a record of its setting."""
