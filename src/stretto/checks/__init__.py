"""Run the commands that must pass, and read what they said."""

from stretto.checks.run import CheckRunner, environment_key, tail

__all__ = ["CheckRunner", "environment_key", "tail"]
