"""The simulation against what can be worked out by hand: pipelines, recursions, and two tasks in each other's way."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.planning.simulation import Task, simulate

TIMES = st.floats(0.0, 10.0, allow_subnormal=False)


def test_a_stream_does_its_tasks_one_after_another():
    spans = simulate([Task(stream="a", seconds=seconds) for seconds in (1.0, 0.0, 2.5)])
    assert [(span.start, span.end) for span in spans] == [(0.0, 1.0), (1.0, 1.0), (1.0, 3.5)]


def test_streams_run_side_by_side_and_wait_for_one_another():
    tasks = [
        Task(stream="a", seconds=2.0),
        Task(stream="b", seconds=1.0, after=(0,)),
        Task(stream="a", seconds=3.0),
        Task(stream="a", seconds=1.0, after=(1,)),
        Task(stream="c", seconds=0.5, after=(1, 3)),
    ]
    assert [(span.start, span.end) for span in simulate(tasks)] == [
        (0.0, 2.0),
        (2.0, 3.0),
        (2.0, 5.0),
        (5.0, 6.0),
        (6.0, 6.5),
    ]


def test_nothing_to_do():
    assert simulate([]) == []


@pytest.mark.parametrize("after", [(0,), (1,), (-1,)])
def test_a_task_cannot_wait_for_itself_or_later_ones(after):
    with pytest.raises(ValueError, match=r"task 0 waits for .*; expected numbers of earlier tasks"):
        simulate([Task(stream="a", seconds=1.0, after=after), Task(stream="a", seconds=1.0)])


@given(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=12))
def test_overlap_is_the_recursion_of_a_queue(stages):
    """A bucket's sum ends at max(its gradients are there, the sum before it ended) + its own time (Lindley, 1952)."""
    tasks = []
    for computing, summing in stages:
        tasks.append(Task(stream="compute", seconds=computing))
        tasks.append(Task(stream="network", seconds=summing, after=(len(tasks) - 1,)))
    spans = simulate(tasks)
    ready = ended = 0.0
    for number, (computing, summing) in enumerate(stages):
        ready += computing
        ended = max(ready, ended) + summing
        assert spans[2 * number + 1].end == pytest.approx(ended, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("c", "m"), [(1.0, 0.25), (1.0, 1.0), (0.25, 1.0)])
def test_equal_buckets_are_a_pipeline(c, m):
    """K stages of c and m: K c + m where computing is longer, c + K m where the network is."""
    tasks = []
    for _ in range(10):
        tasks.append(Task(stream="compute", seconds=c))
        tasks.append(Task(stream="network", seconds=m, after=(len(tasks) - 1,)))
    assert simulate(tasks)[-1].end == pytest.approx(max(10 * c + m, c + 10 * m))


@given(st.floats(0.1, 10.0), st.floats(0.1, 10.0), st.floats(0.0, 0.9), st.floats(0.0, 0.9))
def test_two_that_are_in_each_others_way(c, m, a, b):
    """The one that ends first does so slowed all the time; the other has lost its share only until then."""
    tasks = [Task(stream="compute", seconds=c), Task(stream="network", seconds=m)]
    computing, summing = simulate(tasks, {("compute", "network"): a, ("network", "compute"): b})
    if c / (1 - a) <= m / (1 - b):
        first = c / (1 - a)
        assert (computing.end, summing.end) == pytest.approx((first, m + b * first))
    else:
        first = m / (1 - b)
        assert (computing.end, summing.end) == pytest.approx((c + a * first, first))


@given(st.lists(st.tuples(st.sampled_from("abc"), TIMES), max_size=20), st.floats(0.0, 0.5))
def test_slowing_down_never_helps_and_streams_keep_their_order(work, share):
    tasks = [Task(stream=stream, seconds=seconds) for stream, seconds in work]
    slowdown = {(one, other): share for one in "abc" for other in "abc" if one != other}
    alone, crowded = simulate(tasks), simulate(tasks, slowdown)
    for before, after in zip(alone, crowded, strict=True):
        assert after.end >= before.end - 1e-9
    for stream in "abc":
        own = [span for task, span in zip(tasks, crowded, strict=True) if task.stream == stream]
        assert all(later.start == earlier.end for earlier, later in pairwise(own))
