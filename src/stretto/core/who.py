"""Who does a task: the agent that the task, the run or the role names, as the frozen configuration describes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stretto.core.facts import Facts
from stretto.core.model import AgentSpec, Origin

#: how strong a model a role wants, and which roles want which; all others want the middle one
TIERS = ("strong", "fast", "cheap")
TIER_OF_ROLE = {
    "driver": "strong",
    "resolver": "strong",
    "implementer": "fast",
    "reviewer": "fast",
    "researcher": "fast",
    "tester": "cheap",
    "summaries": "cheap",
}
#: who does what nobody says anything of
DEFAULT_AGENT = "claude"
#: what stretto gives to the roles that it knows, in words; a role that is not here does the tasks that name it
WORK_OF_ROLE = {
    "driver": "opened by `stretto driver`",
    "implementer": "does the tasks that name no role, but those of kind test and research",
    "tester": "does the tasks of kind test",
    "researcher": "does the tasks of kind research",
    "resolver": "resolves conflicts with the target, if it names another agent or model than the task had",
    "reviewer": "does only the tasks that name it, nothing else asks for reviews yet",
    "summaries": "does only the tasks that name it, nothing else asks for summaries yet",
}
#: the roles of which that is all
UNUSED_ROLES = ("reviewer", "summaries")
#: the role that resolves conflicts, and the keys of which one must be said so that it does
RESOLVER = "resolver"
RESOLVER_KEYS = ("agent", "model", "tier")
#: the counter among a task's attempts that says how many of its agents would not do
FALLBACK = "fallback"
#: the same for the agents of the resolver
RESOLVER_FALLBACK = "resolver fallback"
#: turns that go on with the one before them
CONTINUES = (Origin.RESUME, Origin.ANSWER)
#: a policy under which an agent does everything without asking
SKIP = "skip"
#: the mode in which an agent shows its own interface in a terminal
PANE = "pane"
#: words of a configuration or task: no sandbox; one where this machine can
NO_SANDBOX, AUTO = "none", "auto"
#: how the git of a task in a sandbox is set up: a part of the repository can be written, or it has a clone of its own
WORKTREE, CLONE = "worktree", "clone"


def in_checkout(fields: Mapping[str, Any]) -> bool:
    """Whether a task with these fields works in the main checkout."""
    return fields.get("workspace") == "shared"


def agent_of(f: Facts) -> AgentSpec:
    """The agent of a task that has rows, for its present turn: the chosen one, or the fallback that it came down to."""
    return _resolver(f) if resolving(f) else implementer(f)


def implementer(f: Facts) -> AgentSpec:
    """The agent whose work a task is, whoever has its present turn."""
    t = f.task
    chosen = t.fields.get("agent") or f.run.agent
    return agent_spec(f.run.config, t.role, chosen, t.fields.get("model"), t.attempts.get(FALLBACK, 0))


def _resolver(f: Facts) -> AgentSpec:
    return agent_spec(f.run.config, RESOLVER, f.run.agent, None, f.task.attempts.get(RESOLVER_FALLBACK, 0))


def has_resolver(f: Facts) -> bool:
    """Whether a conflict of the task goes to an agent of its own: [roles.resolver] names another one, or another model.

    What the task says of agent and model is said of its implementer; what call or plan say holds for all roles.
    """
    if f.task.role == RESOLVER or not names_resolver(f.run.config):
        return False
    own, other = implementer(f), _resolver(f)
    return (own.name, own.model) != (other.name, other.model)


def names_resolver(config: Mapping[str, Any]) -> bool:
    """Whether the file says who resolves conflicts: agent, model or tier of the role, not only its policy."""
    return not set(part_of(config, RESOLVER).get("said", ())).isdisjoint(RESOLVER_KEYS)


def role_of(f: Facts) -> str:
    """The role that has the present turn of a task: its own, or the resolver's.

    A turn that was given to a session is that session's. One that was not is the resolver's if it resolves a conflict,
    or takes such a turn up again; whatever comes after goes back to the task's own role.
    """
    turn, session = f.turn, f.session
    if turn is not None and session is not None and turn.session == session.id:
        return RESOLVER if session.role == RESOLVER else f.task.role
    before = [t for t in f.turns if turn is not None and t.n <= turn.n]
    while before and before[-1].origin in CONTINUES:
        before.pop()
    conflict = bool(before) and before[-1].origin is Origin.CONFLICT
    return RESOLVER if conflict and has_resolver(f) else f.task.role


def resolving(f: Facts) -> bool:
    """Whether the present turn of a task is not its own agent's, but the resolver's."""
    return role_of(f) == RESOLVER != f.task.role


def must_hand_over(f: Facts) -> bool:
    """Whether the live session is another role's than the one that has the present turn."""
    session = f.session
    live = session is not None and session.ended_at is None
    return live and session is not None and (session.role == RESOLVER) != (role_of(f) == RESOLVER)


def fallback_of(f: Facts) -> str:
    """The counter of agents that would not do, for the role that has the present turn."""
    return RESOLVER_FALLBACK if resolving(f) else FALLBACK


def part_of(config: Mapping[str, Any], role: str) -> Mapping[str, Any]:
    """What a frozen configuration says of a role; a task that joined later may name one that it does not know."""
    found: Mapping[str, Any] | None = config.get("roles", {}).get(role)
    return {"agent": config.get("agent") or DEFAULT_AGENT} if found is None else found


def unused_roles(config: Mapping[str, Any], named: Iterable[str]) -> list[str]:
    """Roles that the file describes and that nothing uses yet, unless they are among those that tasks name.

    So is a resolver of which only the policy is said: then the agent whose work it is resolves conflicts.
    """
    roles, wanted = config.get("roles", {}), set(named)
    idle = UNUSED_ROLES if names_resolver(config) else (RESOLVER, *UNUSED_ROLES)
    return [role for role in idle if role not in wanted and roles.get(role, {}).get("said")]


def doubts(config: Mapping[str, Any], named: Iterable[str]) -> list[str]:
    """What is probably not meant in the roles that the file describes, a sentence each.

    A role that no task names (`named` are those that tasks do) and that is nearly called as one that stretto knows; and
    a role whose agent is to take over from itself.
    """
    from stretto.core.finding import closest  # reading a state needs no guesses

    wanted, found = set(named), []
    for role, part in config.get("roles", {}).items():
        if not part.get("said"):
            continue
        guess = None if role in WORK_OF_ROLE or role in wanted else closest(role, WORK_OF_ROLE)
        if guess:
            found.append(f"no task names the role of [roles.{role}]; did you mean [roles.{guess}]?")
        own = part["agent"] if "agent" in part["said"] or not config.get("agent") else None
        if own in part["fallback"]:
            found.append(
                f"[roles.{role}] fallback names {own}, which is the role's agent: it takes over from others only"
            )
    return found


def mode_of(config: Mapping[str, Any], role: str, said: str | None) -> str:
    """How stretto speaks with the agent of a task that says this itself: `stream` or `pane`."""
    part = part_of(config, role)
    return str(said or config.get("mode") or part.get("mode") or "stream")


def adapter_of(type: str, mode: str) -> str:
    """The name of the adapter for agents of a type in this mode."""
    return f"{type}/pane" if mode == PANE else type


def choices(config: Mapping[str, Any], role: str, agent: str | None) -> tuple[str, ...]:
    """Names of the agents for a task: the one that was chosen, else the role's, then the role's fallbacks."""
    part = part_of(config, role)
    return tuple(dict.fromkeys([str(agent or part.get("agent")), *part.get("fallback", ())]))


def choices_of(f: Facts) -> tuple[str, ...]:
    """The names of the agents that may have the present turn of a task, in their order."""
    if resolving(f):
        return choices(f.run.config, RESOLVER, f.run.agent)
    return choices(f.run.config, f.task.role, f.task.fields.get("agent") or f.run.agent)


def next_agent(f: Facts) -> str | None:
    """The agent that comes after the present one of a task; None if there is none."""
    left = choices_of(f)[f.task.attempts.get(fallback_of(f), 0) + 1 :]
    return left[0] if left else None


def agent_spec(
    config: Mapping[str, Any], role: str, agent: str | None, model: str | None = None, fallen: int = 0
) -> AgentSpec:
    """The agent that was chosen, else the role's; `fallen`: how many of the choices would not do.

    A model is a name of one vendor: what task and plan say holds for the first choice only, what the role says for the
    role's own agent only. Then the agent's own counts, then that of the tier that the role wants. The role's policy
    wins over the agent's, whoever does the task.
    """
    part = part_of(config, role)
    names = choices(config, role, agent)
    name = names[min(fallen, len(names) - 1)]
    raw: Mapping[str, Any] = config.get("agents", {}).get(name, {"type": name})
    said = (model or config.get("model")) if name == names[0] else None
    of_role = part.get("model") if name == part.get("agent") else None
    tier = part.get("tier") or TIER_OF_ROLE.get(role, TIERS[1])
    return AgentSpec(
        name=name,
        type=str(raw.get("type", name)),
        command=tuple(raw.get("command", ())),
        args=tuple(raw.get("args", ())),
        env=dict(raw.get("env", {})),
        mcp=dict(raw.get("mcp", {})),
        model=said or of_role or raw.get("model") or raw.get("models", {}).get(tier),
        permissions=str(part.get("permissions") or raw.get("permissions") or "ask"),
        turn=dict(raw.get("turn") or {}),
    )


def agents_of(
    config: Mapping[str, Any], role: str, agent: str | None, model: str | None = None
) -> tuple[AgentSpec, ...]:
    """The agents that may do a task, in their order."""
    return tuple(agent_spec(config, role, agent, model, n) for n in range(len(choices(config, role, agent))))


def resolvers(
    config: Mapping[str, Any], role: str, agent: str | None, model: str | None = None
) -> tuple[AgentSpec, ...]:
    """The agents that may resolve the conflicts of a task, in their order; none where its own agent does."""
    if role == RESOLVER or not names_resolver(config):
        return ()
    found = agents_of(config, RESOLVER, config.get("agent"))
    own = {(spec.name, spec.model) for spec in agents_of(config, role, agent, model)}
    return () if own == {(found[0].name, found[0].model)} else found


def sandbox_of(config: Mapping[str, Any], said: str | None) -> str:
    """What confines a task that says this itself: `bubblewrap` or `none`. What `auto` is was settled with the run."""
    word = str(said or config.get("sandbox") or NO_SANDBOX)
    return str(config.get("sandbox_auto") or NO_SANDBOX) if word == AUTO else word


def sandbox(f: Facts) -> str:
    """What confines a task that has rows. Nothing holds one in the main checkout, where the repository itself lies."""
    if in_checkout(f.task.fields):
        return NO_SANDBOX
    return sandbox_of(f.run.config, f.task.fields.get("sandbox"))


def recipe_of(config: Mapping[str, Any], role: str, agent: str | None, said: str | None) -> str:
    """How the git of a task in a sandbox is set up: `worktree`, or `clone`. Without a sandbox always `worktree`.

    What nothing is said of is a clone as soon as one of the agents that may do the task never asks.
    """
    if sandbox_of(config, said) == NO_SANDBOX:
        return WORKTREE
    word = (config.get("sandbox_rules") or {}).get("recipe", AUTO)
    if word != AUTO:
        return str(word)
    may = [*agents_of(config, role, agent), *resolvers(config, role, agent)]
    return CLONE if any(spec.permissions == SKIP for spec in may) else WORKTREE


def recipe(f: Facts) -> str:
    """The same for a task that has rows."""
    t = f.task
    if in_checkout(t.fields):
        return WORKTREE
    return recipe_of(f.run.config, t.role, t.fields.get("agent") or f.run.agent, t.fields.get("sandbox"))


def isolation(f: Facts) -> str:
    """What keeps the agent of a task from the rest of the machine: `none`, or the recipe of its sandbox."""
    return NO_SANDBOX if sandbox(f) == NO_SANDBOX else str(f.task.held.get("STRETTO_RECIPE") or recipe(f))


def badges(f: Facts) -> list[str]:
    """Words to show beside a task.

    `unsandboxed`: its agent may do everything on this machine, unasked; or a sandbox was wanted where there can be one,
    and there can be none.
    """
    word = f.task.fields.get("sandbox") or f.run.config.get("sandbox")
    open_ = sandbox(f) == NO_SANDBOX and (agent_of(f).permissions == SKIP or word == AUTO)
    return ["unsandboxed"] if open_ else []
