"""Requests in a minute: buckets of tokens, by a clock that the test turns."""

from __future__ import annotations

import pytest

from llm_vision.admission.rate_limit import MOST_CLIENTS, RateLimit
from llm_vision.errors import RateLimited


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait_of(limit: RateLimit, client: str = "key 0") -> int:
    """What a refused request is told."""
    with pytest.raises(RateLimited) as refused:
        limit.take(client)
    assert refused.value.retry_after is not None
    return refused.value.retry_after


def taken(limit: RateLimit, client: str = "key 0") -> int:
    """How many requests may come at once."""
    for count in range(10_000):
        try:
            limit.take(client)
        except RateLimited:
            return count
    raise AssertionError("there is no limit")


@pytest.mark.parametrize("allowance", [1, 3, 7, 60, 90, 999])
def test_a_minutes_requests_may_come_at_once(clock: Clock, allowance: int) -> None:
    assert taken(RateLimit(allowance, clock)) == allowance


@pytest.mark.parametrize("allowance", [1, 3, 7, 60, 90, 999])
def test_a_request_is_allowed_after_the_time_that_was_told_and_not_a_second_earlier(
    clock: Clock, allowance: int
) -> None:
    limit = RateLimit(allowance, clock)
    taken(limit)
    begun, allowed = clock.now, 0
    for _ in range(100):
        seconds = wait_of(limit)
        clock.now += seconds - 1
        assert wait_of(limit) == 1
        clock.now += 1
        found = taken(limit)
        assert found >= 1
        allowed += found
    assert allowed <= (clock.now - begun) * allowance / 60


def test_the_wait_is_told_in_whole_seconds_and_shrinks(clock: Clock) -> None:
    limit = RateLimit(6, clock)
    taken(limit)
    assert wait_of(limit) == 10
    clock.now += 0.5
    assert wait_of(limit) == 10
    clock.now += 9.0
    assert wait_of(limit) == 1
    clock.now += 0.5
    limit.take("key 0")


def test_refused_requests_do_not_count(clock: Clock) -> None:
    limit = RateLimit(6, clock)
    taken(limit)
    for _ in range(50):
        wait_of(limit)
    clock.now += 10
    assert taken(limit) == 1


@pytest.mark.parametrize(("seconds", "allowed"), [(10, 1), (30, 3), (60, 6), (600, 6)])
def test_a_bucket_is_refilled_continuously_and_not_beyond_its_size(clock: Clock, seconds: int, allowed: int) -> None:
    limit = RateLimit(6, clock)
    taken(limit)
    clock.now += seconds
    assert taken(limit) == allowed


def test_each_client_has_a_bucket_of_its_own(clock: Clock) -> None:
    limit = RateLimit(2, clock)
    assert [taken(limit, client) for client in ("key 0", "key 1", "127.0.0.1")] == [2, 2, 2]


def test_zero_is_no_limit(clock: Clock) -> None:
    limit = RateLimit(0, clock)
    for _ in range(10_000):
        limit.take("key 0")


def test_full_buckets_are_forgotten_and_empty_ones_are_not(clock: Clock) -> None:
    """However many addresses send one request each, those that have none left do not get more."""
    limit = RateLimit(2, clock)
    taken(limit, "greedy")
    for number in range(3 * MOST_CLIENTS):
        limit.take(f"address {number}")
        assert len(limit._full_at) <= MOST_CLIENTS
    wait_of(limit, "greedy")
    clock.now += 60
    for number in range(MOST_CLIENTS):
        limit.take(f"late {number}")
    assert not [client for client in limit._full_at if client.startswith(("address", "greedy"))]
