"""Pure: values in, decisions out. Standard library only; no I/O, no clock, no randomness."""
