"""Workspaces: what a task or a gate works in, made, described, taken away and brought back."""

from stretto.workspace.bays import Bays, home_name
from stretto.workspace.folder import locate
from stretto.workspace.settings import Settings

__all__ = ["Bays", "Settings", "home_name", "locate"]
