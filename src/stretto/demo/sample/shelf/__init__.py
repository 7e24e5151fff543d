"""What is on the shelf."""

__version__ = "0.1.0"
