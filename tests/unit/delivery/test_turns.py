"""Who is next: the scheduler on a clock of its own, alone and in a simulated crowd."""

from __future__ import annotations

import heapq
import os
import random
import signal
import uuid
from collections import Counter
from typing import Any

import pytest

from flask_lms.delivery import streams
from flask_lms.delivery.streams import Candidate, OriginPlaces, Standing, Turn, Turns

WELL, QUIET, FAILING = Standing.WELL, Standing.QUIET, Standing.FAILING


def candidate(origin: str, standing: Standing = WELL, **more: Any) -> Candidate:
    values = {"organization_id": origin, **more}
    return Candidate(
        configuration_id=uuid.uuid4(), origin=origin, standing=standing, at_once=4, **values
    )


def put(turns: Turns, *those: Candidate) -> None:
    for one in those:
        turns.waiting.setdefault(one)


def all_next(turns: Turns, now: float) -> list[Turn]:
    found = []
    while turn := turns.next(now):
        found.append(turn)
    return found


def test_one_that_is_well_has_four_at_a_time_and_any_other_one() -> None:
    for standing, most in ((WELL, 4), (QUIET, 1), (FAILING, 1)):
        turns = Turns(32, 4)
        one = candidate("https://lms", standing)
        started = 0
        for _ in range(10):
            put(turns, one)
            started += len(all_next(turns, 0.0))
        assert started == most


def test_an_origin_has_its_limit_whoever_shares_it() -> None:
    turns = Turns(32, 4)
    put(turns, *(candidate("https://shared") for _ in range(20)))
    begun = all_next(turns, 0.0)
    assert len(begun) == 4
    turns.done(begun[0])
    assert len(all_next(turns, 0.0)) == 1


def test_what_an_origin_showed_to_one_counts_for_all_who_share_it() -> None:
    turns = Turns(32, 4)
    new = candidate("https://shared", QUIET)
    assert turns.standing(new, 0.0) is QUIET
    turns.noted("https://shared", True, 1.0)
    assert turns.standing(new, 2.0) is WELL
    turns.noted("https://shared", False, 3.0)
    assert turns.standing(new, 4.0) is FAILING
    assert turns.standing(candidate("https://shared", WELL), 4.0) is FAILING
    turns.noted("https://shared", True, 5.0)
    assert turns.standing(new, 6.0) is WELL
    assert turns.standing(new, 5000.0) is QUIET


def test_those_that_fail_leave_the_streams_of_the_others_alone() -> None:
    turns = Turns(32, 4)
    failing = [candidate(f"https://down{n}", FAILING) for n in range(100)]
    put(turns, *failing)
    for second in range(60):  # idle streams are anybody's: they take them all in the end
        all_next(turns, float(second))
    assert len(turns.under_way) == 32
    well = [candidate(f"https://well{n}") for n in range(24)]
    put(turns, *well, candidate("https://new", QUIET))
    begun = all_next(turns, 60.0)
    assert Counter(turn.standing for turn in begun) == {WELL: 24, QUIET: 1}
    assert not turns.is_full(61.0)


def test_those_that_fail_are_tried_a_few_a_second() -> None:
    turns = Turns(32, 4)
    put(turns, *(candidate(f"https://down{n}", FAILING) for n in range(100)))
    begun = [len(all_next(turns, tenth / 10)) for tenth in range(31)]
    assert begun[0] == streams.PROBES_A_SECOND
    assert sum(begun[:10]) == streams.PROBES_A_SECOND
    assert sum(begun[:20]) == 2 * streams.PROBES_A_SECOND


def test_all_streams_hang_at_once_and_the_next_one_waits_for_a_moment_only() -> None:
    """All were well a second ago, so nothing told them from the healthy one."""
    turns = Turns(32, 4)
    put(turns, *(candidate(f"https://hangs{n}") for n in range(32)))
    assert len(all_next(turns, 0.0)) == 32
    put(turns, candidate("https://healthy"))
    assert turns.is_full(0.0)
    assert turns.next(streams.SLOW_SECONDS / 2) is None
    turn = turns.next(streams.SLOW_SECONDS)
    assert turn is not None
    assert turn.candidate.origin == "https://healthy"


def test_threads_have_a_bound() -> None:
    turns = Turns(4, 4)
    now = 0.0
    for number in range(1000):
        put(turns, candidate(f"https://hangs{number}"))
        now += 1.0
        all_next(turns, now)
    assert len(turns.under_way) == 4 * streams.THREADS_PER_STREAM
    assert turns.is_full(now)


def test_an_origin_that_hangs_gets_no_other_request_until_it_has_answered() -> None:
    turns = Turns(32, 4)
    one = candidate("https://hangs")
    put(turns, one)
    [first] = all_next(turns, 0.0)
    put(turns, one)
    assert len(all_next(turns, streams.HUNG_SECONDS - 1)) == 1
    put(turns, one)
    assert all_next(turns, streams.HUNG_SECONDS) == []
    turns.done(first)
    assert all_next(turns, streams.HUNG_SECONDS) != []


def test_organizations_take_turns() -> None:
    turns = Turns(4, 4)
    large = [candidate(f"https://large{n}", organization_id="large") for n in range(50)]
    small = [candidate("https://small", organization_id="small")]
    put(turns, *large, *small)
    order = []
    for _ in range(10):
        turn = turns.next(0.0)
        assert turn is not None
        order.append(turn.candidate.organization_id)
        put(turns, turn.candidate)
        turns.done(turn)
    assert order.count("small") == 5


def test_places_of_an_origin_are_shared_with_other_processes_and_given_back_by_a_death() -> None:
    places = OriginPlaces.shared()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        taken = [places.take("https://lms", 4) for _ in range(3)]
        os.write(writing, bytes(taken))  # type: ignore[arg-type]
        signal.pause()
    try:
        assert os.read(reading, 3) == bytes([0, 1, 2])
        assert places.take("https://lms", 4) == 3
        assert places.take("https://lms", 4) is None
        assert places.take("https://other", 4) == 0
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert places.take("https://lms", 4) == 0
    places.give_back("https://lms", 3)
    assert places.take("https://lms", 1) is None
    assert [places.take("https://lms", 4) for _ in range(4)] == [1, 2, 3, None]
    places.close()
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("seed", range(12))
def test_in_a_crowd_the_limits_hold_at_every_moment_and_nobody_is_forgotten(seed: int) -> None:
    """Random LMSs: quick, slow and hanging ones, some shared, some failing; sixty seconds."""
    chance = random.Random(seed)
    turns = Turns(16, 4)
    origins = {f"https://lms{n}": chance.choice([0.02, 0.1, 2.0, 75.0]) for n in range(40)}
    those = [
        candidate(
            chance.choice(list(origins)),
            chance.choice([WELL, WELL, QUIET, FAILING]),
            organization_id=f"org{chance.randrange(10)}",
        )
        for _ in range(80)
    ]
    ends: list[tuple[float, int, Turn]] = []
    waited: dict[Candidate, float] = {}
    longest = served = now = 0.0
    count = 0
    while now < 60.0:
        now += 0.05
        while ends and ends[0][0] <= now:
            at, _, turn = heapq.heappop(ends)
            turns.done(turn)
            is_quick = origins[turn.candidate.origin] < 5
            turns.noted(turn.candidate.origin, is_quick, at)
            turn.candidate.standing = WELL if is_quick else FAILING
        for one in those:
            if one not in turns.waiting and one.under_way == 0 and chance.random() < 0.05:
                put(turns, one)
                waited[one] = now
        for turn in all_next(turns, now):
            count += 1
            heapq.heappush(ends, (now + origins[turn.candidate.origin], count, turn))
            began = waited.pop(turn.candidate, now)
            if turn.standing is WELL and origins[turn.candidate.origin] <= 0.1:
                longest = max(longest, now - began)
                served += 1

        under_way = Counter(turn.candidate.origin for turn in turns.under_way)
        assert max(under_way.values(), default=0) <= 4
        for turn in turns.under_way:
            assert turn.candidate.under_way <= turn.candidate.at_once
        failing = sum(turn.standing is FAILING for turn in turns.under_way)
        assert failing <= 16
        assert len(turns.under_way) <= 16 * streams.THREADS_PER_STREAM
        quick_places = sum(
            turn.standing is not FAILING and now - turn.started_at < streams.SLOW_SECONDS
            for turn in turns.under_way
        )
        assert quick_places <= 16 + 4
    assert served > 100
    assert longest < 2.5  # an origin that answers after 2 s may be shared
