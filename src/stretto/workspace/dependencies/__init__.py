"""Packages of other people that a worktree needs: recognised by their lock files, brought in by the cheapest way."""

from stretto.workspace.dependencies.copying import Copier, System
from stretto.workspace.dependencies.ladder import Choice, Ladder

__all__ = ["Choice", "Copier", "Ladder", "System"]
