"""A network is a recurrent core with its parameters, and a readout on top of the core."""
