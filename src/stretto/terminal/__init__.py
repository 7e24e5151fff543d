"""Terminals: tmux on sockets of our own, never the person's, and what stands on a screen."""
