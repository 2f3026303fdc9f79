"""A training run: its loop, checkpoints, memory and setting."""
