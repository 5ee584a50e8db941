"""When a process held how much memory: looked at in the memory pass, bounded, and never in a cell's way."""

from __future__ import annotations

import time

from suite.metrics.timeline import MOST_POINTS, Timeline, thinned
from suite.records import Memory, MemoryPoint


def test_a_level_that_rises_and_falls_is_seen_in_order():
    level = [10]
    with Timeline(lambda: level[0]) as timeline:
        for value in (10, 500, 20):
            level[0] = value
            time.sleep(0.1)
    seen = [point.level_bytes for point in timeline.points]
    assert seen[0] == 10 and max(seen) == 500 and seen[-1] == 20
    times = [point.at_s for point in timeline.points]
    assert times == sorted(times)


def test_there_are_never_more_points_than_stated_and_the_peak_stays():
    calls = iter(range(10**9))
    with Timeline(lambda: 7_000 if next(calls) == 30 else 5) as timeline:
        timeline._every_s = 0.0001
        time.sleep(0.5)
    assert 1 < len(timeline.points) <= MOST_POINTS
    assert max(point.level_bytes for point in timeline.points) == 7_000


def test_a_level_that_cannot_be_read_ends_the_timeline_and_nothing_else():
    def gone() -> int:
        raise OSError("no such process")

    with Timeline(gone) as timeline:
        pass
    assert timeline.points == []
    with Timeline(None) as none:
        pass
    assert none.points == []


def test_a_level_below_the_start_is_zero():
    with Timeline(lambda: -5) as timeline:
        pass
    assert {point.level_bytes for point in timeline.points} == {0}


def test_of_each_two_points_the_higher_stays():
    points = [MemoryPoint(at_s=float(n), level_bytes=b) for n, b in enumerate((1, 9, 8, 2, 5))]
    assert [point.level_bytes for point in thinned(points)] == [9, 8, 5]


def test_a_record_of_before_has_no_timeline():
    assert Memory(kind="process", peak_memory_bytes=1).timeline == []
