import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto.core.plan import parse
from stretto.core.schedule import Job, best_open, jobs_of, simulate

EIGHT = [Job(f"t{n}", 10.0) for n in range(8)]
FREE = {job.id: () for job in EIGHT}


@pytest.mark.parametrize(("open_limit", "minutes"), [(1, 80.0), (2, 40.0), (3, 30.0), (8, 10.0), (20, 10.0)])
def test_without_reviews_the_places_decide(open_limit, minutes):
    schedule = simulate(EIGHT, FREE, open_limit, review=0.0)
    assert schedule.makespan == minutes
    assert schedule.serial == 80.0


def test_the_person_reviews_one_task_at_a_time():
    assert simulate(EIGHT, FREE, 8, review=5.0).makespan == 10.0 + 8 * 5.0
    assert best_open(EIGHT, FREE, 8, review=5.0) == 3


def test_a_task_starts_when_what_it_needs_is_over():
    schedule = simulate([Job("b", 3.0), Job("a", 2.0)], {"b": ("a",), "a": ()}, 4, review=1.0)
    slots = {slot.task: slot for slot in schedule.slots}
    assert (slots["a"].end, slots["b"].start, slots["b"].end) == (3.0, 3.0, 7.0)


def test_priority_starts_first_and_research_takes_no_place():
    jobs = [Job("low", 5.0), Job("high", 5.0, priority=1), Job("study", 9.0, background=True)]
    schedule = simulate(jobs, {job.id: () for job in jobs}, 1, review=0.0)
    starts = {slot.task: slot.start for slot in schedule.slots}
    assert starts == {"high": 0.0, "study": 0.0, "low": 5.0}


def test_tasks_without_length_end():
    assert simulate([Job("a", 0.0)], {"a": ()}, 1, review=0.0).makespan == 0.0
    assert simulate([], {}, 1).makespan == 0.0


def test_a_cycle_is_refused():
    with pytest.raises(ValueError, match="wait for each other"):
        simulate([Job("a", 1.0)], {"a": ("a",)}, 1)


def test_minutes_by_kind():
    plan, _ = parse("## a: T\n- kind: docs\n\n## b: T\n- kind: research\n- priority: 2\n")
    assert jobs_of(plan) == [Job("a", 8.0), Job("b", 15.0, 2, background=True)]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=8), st.integers(1, 9), st.integers(0, 3)
)
def test_no_schedule_is_better_than_its_bounds(made, open_limit, review):
    jobs = [Job(str(n), float(minutes), background=free) for n, (minutes, free) in enumerate(made)]
    needs = {job.id: () for job in jobs}
    schedule = simulate(jobs, needs, open_limit, float(review))
    assert len(schedule.slots) == len(jobs)
    assert max(job.minutes for job in jobs) + review <= schedule.makespan <= schedule.serial
    for moment in {slot.start for slot in schedule.slots}:
        held = [slot for slot in schedule.slots if slot.start <= moment < slot.end]
        assert sum(not jobs[int(slot.task)].background for slot in held) <= open_limit
