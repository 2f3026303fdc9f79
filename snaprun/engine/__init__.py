"""Engines train a network one time step at a time; the PyTorch engine specifies the C++ engine."""
