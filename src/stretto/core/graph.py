"""Who waits for whom: order, cycles, ready tasks, waves, critical path.

Most functions take `needs`: a mapping from each task, in the order of the plan, to the tasks that it waits for. They
know nothing of plans, so that the engine can use them with uids as well. `*` is expanded by `expand`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping

from stretto.core.finding import Finding, closest, error
from stretto.core.plan import EVERYTHING, Plan, PlanTask

Needs = Mapping[str, Collection[str]]


def expand(needs: Needs) -> dict[str, tuple[str, ...]]:
    """`*` replaced by all other tasks (DECISIONS 11); needs that are not keys are kept."""
    return {
        task: tuple(other for other in needs if other != task) if EVERYTHING in given else tuple(given)
        for task, given in needs.items()
    }


def needs_of(plan: Plan) -> dict[str, tuple[str, ...]]:
    """The expanded needs of a plan, without unknown ones; of duplicate ids the first counts."""
    given: dict[str, tuple[str, ...]] = {}
    for task in plan.tasks:
        given.setdefault(task.id, task.needs)
    return known_only(expand(given))


def known_only(needs: Needs) -> dict[str, tuple[str, ...]]:
    """Needs without those that are no tasks."""
    return {task: tuple(dict.fromkeys(need for need in given if need in needs)) for task, given in needs.items()}


# ---------------------------------------------------------------- cycles


def cycles(needs: Needs) -> list[tuple[str, ...]]:
    """One shortest cycle for each knot, as a path that ends where it begins, in the order of the plan."""
    position = {task: n for n, task in enumerate(needs)}
    knots = [knot for knot in _knots(needs) if len(knot) > 1 or knot[0] in needs[knot[0]]]
    found = [_shortest_cycle(min(knot, key=position.__getitem__), set(knot), needs) for knot in knots]
    return sorted(found, key=lambda path: position[path[0]])


def _knots(needs: Needs) -> list[list[str]]:
    """Strongly connected components (Tarjan, without recursion: a chain may be a thousand tasks long)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    result: list[list[str]] = []
    for root in needs:
        if root in number:
            continue
        work = [(root, iter(needs[root]))]
        number[root] = low[root] = len(number)
        path.append(root)
        on_path.add(root)
        while work:
            task, rest = work[-1]
            need = next((one for one in rest if one in needs and (one not in number or one in on_path)), None)
            if need is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[task])
                if low[task] == number[task]:
                    result.append(_pop_knot(task, path, on_path))
            elif need in number:
                low[task] = min(low[task], number[need])
            else:
                number[need] = low[need] = len(number)
                path.append(need)
                on_path.add(need)
                work.append((need, iter(needs[need])))
    return result


def _pop_knot(task: str, path: list[str], on_path: set[str]) -> list[str]:
    knot = path[path.index(task) :]
    del path[-len(knot) :]
    on_path.difference_update(knot)
    return knot


def _shortest_cycle(start: str, knot: Collection[str], needs: Needs) -> tuple[str, ...]:
    came_from: dict[str, str] = {}
    queue = deque([start])
    while queue:
        task = queue.popleft()
        for need in needs[task]:
            if need == start:
                return (*_way(start, task, came_from), start)
            if need in knot and need not in came_from:
                came_from[need] = task
                queue.append(need)
    raise ValueError(f"no cycle through {start}")


def _way(start: str, end: str, came_from: Mapping[str, str]) -> list[str]:
    way = [end]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return way[::-1]


# ---------------------------------------------------------------- order


def order(needs: Needs) -> list[str]:
    """All tasks, each behind what it needs, else as in the plan. Raises ValueError if there is a cycle."""
    return [task for wave in waves(needs) for task in wave]


def waves(needs: Needs) -> list[list[str]]:
    """Tasks by depth: a wave needs nothing but earlier waves. Raises ValueError if there is a cycle."""
    depth: dict[str, int] = {}
    waiting = {task: sum(need in needs for need in set(given)) for task, given in needs.items()}
    after = dependents(needs)
    queue = deque(task for task, count in waiting.items() if count == 0)
    depth.update(dict.fromkeys(queue, 0))
    done = 0
    while queue:
        task = queue.popleft()
        done += 1
        for dependent in after[task]:
            depth[dependent] = max(depth.get(dependent, 0), depth[task] + 1)
            waiting[dependent] -= 1
            if waiting[dependent] == 0:
                queue.append(dependent)
    if done < len(needs):
        raise ValueError("the tasks wait for each other: " + " -> ".join(cycles(needs)[0]))
    result: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for task in needs:
        result[depth[task]].append(task)
    return result


def dependents(needs: Needs) -> dict[str, list[str]]:
    """For each task those that need it directly."""
    result: dict[str, list[str]] = {task: [] for task in needs}
    for task, given in needs.items():
        for need in dict.fromkeys(given):
            if need in result:
                result[need].append(task)
    return result


def ready(needs: Needs, satisfied: Collection[str], started: Collection[str] = ()) -> list[str]:
    """Tasks that may start now: not started, and all they need is satisfied."""
    done, begun = set(satisfied), set(started)
    return [task for task, given in needs.items() if task not in begun | done and done.issuperset(given)]


def critical_path(needs: Needs, minutes: Mapping[str, float]) -> tuple[list[str], float]:
    """The chain of needs that takes longest, in the order of work, and its minutes. Raises ValueError on a cycle."""
    finish: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for task in order(needs):
        known = [need for need in needs[task] if need in finish]
        before[task] = max(known, key=finish.__getitem__, default=None)
        finish[task] = minutes[task] + max((finish[need] for need in known), default=0.0)
    path: list[str] = []
    at = max(finish, key=finish.__getitem__, default=None)
    total = finish[at] if at is not None else 0.0
    while at is not None:
        path.append(at)
        at = before[at]
    return path[::-1], total


# ---------------------------------------------------------------- what may run together


class Reach:
    """Which tasks wait for which, directly or through others. Cycles are allowed."""

    def __init__(self, needs: Needs) -> None:
        self._bit = {task: 1 << n for n, task in enumerate(needs)}
        self._needs = dict.fromkeys(needs, 0)
        direct = {task: sum(self._bit[need] for need in set(given) & self._bit.keys()) for task, given in needs.items()}
        for knot in _knots(needs):  # what is needed comes before what needs it
            reached = 0
            for task in knot:
                reached |= direct[task]
                for need in needs[task]:
                    reached |= self._needs.get(need, 0)
            self._needs.update(dict.fromkeys(knot, reached))

    def waits_for(self, task: str, other: str) -> bool:
        """Whether `task` needs `other`, directly or through others."""
        return bool(self._needs[task] & self._bit[other])

    def together(self, one: str, other: str) -> bool:
        """Whether two different tasks may run at the same time."""
        return one != other and not self.waits_for(one, other) and not self.waits_for(other, one)


def parallel_pairs(needs: Needs) -> list[tuple[str, str]]:
    """All pairs that may run at the same time, in the order of the plan."""
    reach, tasks = Reach(needs), list(needs)
    return [(one, other) for n, one in enumerate(tasks) for other in tasks[n + 1 :] if reach.together(one, other)]


# ---------------------------------------------------------------- errors of a plan


def problems(plan: Plan) -> list[Finding]:
    """Duplicate ids, unknown needs and cycles: what keeps a plan from having an order."""
    return [*_duplicates(plan.tasks), *_unknown_needs(plan), *_cycle_findings(plan)]


def _duplicates(tasks: Iterable[PlanTask]) -> list[Finding]:
    first: dict[str, int] = {}
    seen: Counter[str] = Counter()
    found = []
    for task in tasks:
        seen[task.id] += 1
        if task.id in first:
            form = f"rename it, to `{task.id}-{seen[task.id]}` say"
            message = f"the id `{task.id}` is taken by the task on line {first[task.id]}"
            found.append(error(task.line, "duplicate-id", message, form, task.id))
        first.setdefault(task.id, task.line)
    return found


def _unknown_needs(plan: Plan) -> list[Finding]:
    ids = {task.id for task in plan.tasks}
    found = []
    for task in plan.tasks:
        for need in task.needs:
            if need not in ids and need != EVERYTHING:
                guess = closest(need, ids - {task.id})
                form = f"write `{guess}`" if guess else "name a task of this plan, or remove it"
                message = f"`{task.id}` needs `{need}`, which is no task of this plan"
                found.append(error(task.at("needs"), "unknown-need", message, form, task.id))
    return found


def _cycle_findings(plan: Plan) -> list[Finding]:
    by_id = {task.id: task for task in reversed(plan.tasks)}
    stars = [task.id for task in by_id.values() if task.waits_for_all]
    found = []
    for path in cycles(needs_of(plan)):
        task = by_id[path[0]]
        message = "tasks wait for each other: " + " -> ".join(path)
        if len(path) == 2:
            message, form = f"`{task.id}` needs itself", "remove it from `needs`"
        elif len(stars) > 1:
            form = "only one task of a plan may have `needs: *`; name the needs of the others"
        elif set(stars) & set(path):
            form = f"`{stars[0]}` waits for all others (`needs: *`), so none may need it"
        else:
            form = f"remove one of these needs: {', '.join(path[:-1])}"
        found.append(error(task.at("needs"), "cycle", message, form, task.id))
    return found
