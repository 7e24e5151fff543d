"""What a type of agent says of itself: its program, what was tested, what it can do, what it reads, its models.

Every adapter has one as its class attribute `declaration`; those of other packages (entry points of the group
`stretto.agents`) may. It is data: `stretto agents`, `doctor`, the capture of variables and the defaults of roles read
it, and none of them starts the agent for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: what an agent can be able to do, in the order in which it is shown
CAPABILITIES = (
    "stream",
    "pane",
    "questions",
    "permissions",
    "resume",
    "fork",
    "usage",
    "mcp",
    "model",
    "budget",
)


@dataclass(frozen=True, slots=True)
class Declaration:
    """A type of agent.

    `program`: what is started unless the configuration names a command; None: it must name one. `version`: the words
    that make the program print its version and do nothing else, empty if there are none. `tested`: versions with which
    the suite of real programs passes. `can`: words of `CAPABILITIES` that stretto makes use of. `variables`: what the
    program reads from the person's environment -> whether that is a secret. `keys`: those of them that stand for a
    login. `logins`: files that are there after a login; `$NAME/` stands for a variable's folder, `~/` for the home.
    `models`: tier (`core.who.TIERS`) -> model, empty when the choice is the person's. `hosts`: where its models are,
    and what it asks on the way; `servers`: variables in which the person names another place for them. `install`: what
    a person types to get it. `confines`: the words with which the program runs another one in its own sandbox, and does
    nothing else; `folder`: the variable that leads all that it keeps to another folder.
    """

    type: str
    about: str
    program: str | None = None
    version: tuple[str, ...] = ("--version",)
    tested: tuple[str, ...] = ()
    can: frozenset[str] = frozenset()
    variables: Mapping[str, bool] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    logins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    install: str = ""
    confines: tuple[str, ...] = ()
    folder: str = ""
