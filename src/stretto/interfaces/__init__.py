"""What the engine needs from the world, as Protocols and the plain values that they exchange.

Every adapter is synchronous and thread-safe. Every effect is idempotent: run twice, it ends in the same place.
Siblings (git, workspace, agents, checks, landing) know each other only through this package.
"""

from stretto.core.model import SessionStatus, TurnResult, Usage
from stretto.interfaces.agents import Agent, Interactive, Launch, SessionContext, Signal
from stretto.interfaces.landing import Clock, Landed, Target
from stretto.interfaces.repository import ClonePlaces, Git, Identity, Merged, Patch, Snapshot, WorktreeState
from stretto.interfaces.shims import CheckOutcome, Checks, Confinement, Shims, ShimState
from stretto.interfaces.workspaces import Dependency, Removal, Workspace, Workspaces

__all__ = [
    "Agent",
    "CheckOutcome",
    "Checks",
    "Clock",
    "ClonePlaces",
    "Confinement",
    "Dependency",
    "Git",
    "Identity",
    "Interactive",
    "Landed",
    "Launch",
    "Merged",
    "Patch",
    "Removal",
    "SessionContext",
    "SessionStatus",
    "ShimState",
    "Shims",
    "Signal",
    "Snapshot",
    "Target",
    "TurnResult",
    "Usage",
    "Workspace",
    "Workspaces",
    "WorktreeState",
]
