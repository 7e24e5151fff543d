"""Observe, decide, act: the reconciler and the operations that faces ask for."""
