from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto.core import graph
from stretto.core.plan import parse

DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


def plan_of(needs):
    return parse("".join(f"## {task}: T\n" + (f"- needs: {', '.join(n)}\n" if n else "") for task, n in needs.items()))[
        0
    ]


def test_waves_order_and_ready():
    assert graph.waves(DIAMOND) == [["a"], ["b", "c"], ["d"]]
    assert graph.order(DIAMOND) == ["a", "b", "c", "d"]
    assert graph.ready(DIAMOND, set()) == ["a"]
    assert graph.ready(DIAMOND, {"a"}, {"b"}) == ["c"]
    assert graph.ready(DIAMOND, {"a", "b", "c"}) == ["d"]


def test_a_task_with_an_unsatisfied_unknown_need_is_never_ready():
    assert graph.ready({"a": ("gone",)}, set()) == []


def test_star_waits_for_all_others_also_later_ones():
    needs = graph.expand({"all": ("*",), "a": (), "b": ("a",)})
    assert needs["all"] == ("a", "b")
    assert graph.order(needs) == ["a", "b", "all"]


def test_critical_path():
    minutes = {"a": 1.0, "b": 5.0, "c": 2.0, "d": 1.0}
    assert graph.critical_path(DIAMOND, minutes) == (["a", "b", "d"], 7.0)
    assert graph.critical_path({}, {}) == ([], 0.0)


@pytest.mark.parametrize(
    ("needs", "found"),
    [
        ({"a": ("a",)}, [("a", "a")]),
        ({"a": ("b",), "b": ("a",)}, [("a", "b", "a")]),
        ({"a": (), "b": ("d",), "c": ("b",), "d": ("c", "a")}, [("b", "d", "c", "b")]),
        ({"a": ("b",), "b": ("a",), "c": ("d",), "d": ("c",)}, [("a", "b", "a"), ("c", "d", "c")]),
        (DIAMOND, []),
    ],
)
def test_cycles_are_found_with_their_path(needs, found):
    assert graph.cycles(needs) == found


def test_a_cycle_has_no_order():
    with pytest.raises(ValueError, match="a -> b -> a"):
        graph.order({"a": ("b",), "b": ("a",)})


def test_pairs_that_may_run_together():
    assert graph.parallel_pairs(DIAMOND) == [("b", "c")]
    assert graph.parallel_pairs({"a": (), "b": ()}) == [("a", "b")]


def test_a_chain_of_thousands_is_no_trouble():
    chain = {f"t{n}": ((f"t{n - 1}",) if n else ()) for n in range(5000)}
    assert len(graph.waves(chain)) == 5000
    assert graph.cycles(chain | {"t0": ("t4999",)})[0][:2] == ("t0", "t4999")


IDS = [f"t{n}" for n in range(7)]
GRAPHS = st.fixed_dictionaries({one: st.lists(st.sampled_from(IDS), max_size=3, unique=True).map(tuple) for one in IDS})


def closure(needs):
    """Slow and plain: the oracle."""
    reached = {task: set(given) for task, given in needs.items()}
    for _ in needs:
        reached = {task: near.union(*(reached[need] for need in near)) for task, near in reached.items()}
    return reached


@settings(max_examples=300)
@given(GRAPHS)
def test_against_the_closure(needs):
    reached = closure(needs)
    reach = graph.Reach(needs)
    for one in IDS:
        for other in IDS:
            assert reach.waits_for(one, other) == (other in reached[one])
    found = graph.cycles(needs)
    assert bool(found) == any(one in reached[one] for one in IDS)
    for path in found:
        assert path[0] == path[-1]
        assert all(need in needs[task] for task, need in pairwise(path))
    if not found:
        order = graph.order(needs)
        assert sorted(order) == IDS
        assert all(order.index(need) < order.index(task) for task in IDS for need in needs[task])


def test_problems_of_a_plan():
    plan, _ = parse("## a: T\n- needs: b\n\n## b: T\n- needs: a, serch\n\n## search: T\n\n## a: T\n")
    found = [(one.line, one.rule, one.task) for one in graph.problems(plan)]
    assert found == [(9, "duplicate-id", "a"), (5, "unknown-need", "b"), (2, "cycle", "a")]
    duplicate, unknown, cycle = graph.problems(plan)
    assert "`a-2`" in duplicate.suggestion
    assert "line 1" in duplicate.message
    assert "`search`" in unknown.suggestion
    assert "a -> b -> a" in cycle.message


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        ({"a": ("*",), "b": ("*",)}, "only one task"),
        ({"a": ("*",), "b": ("a",)}, "none may need it"),
        ({"a": ("a",)}, "remove it from"),
        ({"a": ("b",), "b": ("a",)}, "remove one of these needs: a, b"),
    ],
)
def test_what_to_do_about_a_cycle(needs, words):
    (finding,) = graph.problems(plan_of(needs))
    assert finding.rule == "cycle"
    assert words in finding.suggestion
