"""How long a test waits for a process before it takes it to hang."""

PATIENCE = 600  # seconds: on a busy machine a start alone may take a minute
