"""Training, a time step at a time: in PyTorch, which is the specification, and in C++."""
