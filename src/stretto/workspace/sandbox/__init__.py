"""The sandbox: what an agent, a check or a gate can see, write and reach; see recipe.py for what it promises."""

from stretto.workspace.sandbox.probe import Found, look, require
from stretto.workspace.sandbox.recipe import ClonePlaces, GitPlaces, Limits, Recipe
from stretto.workspace.sandbox.wrap import LAUNCH, environment, wrapper

__all__ = [
    "LAUNCH",
    "ClonePlaces",
    "Found",
    "GitPlaces",
    "Limits",
    "Recipe",
    "environment",
    "look",
    "require",
    "wrapper",
]
