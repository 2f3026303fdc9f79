"""snaprun: online training of recurrent networks with forward-mode credit assignment."""

__version__ = "0.1.0"
