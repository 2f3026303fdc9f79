"""A network: the recurrent core with its parameters, and the readout on top of it."""
