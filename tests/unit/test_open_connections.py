"""Whose connection is ended when there are too many."""

from __future__ import annotations

from llm_vision.admission.connections import Connections


def opened(crowd: Connections[str], *names: str, busy: bool = False) -> list[str | None]:
    """Open them one after the other, each named after its client; whom each newcomer has ended."""
    victims = []
    for name in names:
        crowd.enter(name, name[0])
        if not busy:
            crowd.mark_idle(name)
        victims.append(crowd.choose_victim(name))
        if victims[-1]:
            crowd.leave(victims[-1])
    return victims


def test_the_longest_idle_one_of_the_client_that_has_most_goes() -> None:
    crowd: Connections[str] = Connections(5)
    assert opened(crowd, "a1", "b1", "b2", "b3", "a2") == [None] * 5
    assert opened(crowd, "c1", "c2", "c3") == ["b1", "a1", "c1"]


def test_a_flood_ends_its_own() -> None:
    crowd: Connections[str] = Connections(3)
    opened(crowd, "honest")
    victims = opened(crowd, *(f"flood{number}" for number in range(10)))
    assert "honest" not in victims
    assert victims[-1] == "flood7"
    assert set(crowd) == {"honest", "flood8", "flood9"}


def test_a_busy_one_is_never_ended_and_is_the_last_to_be_idle() -> None:
    crowd: Connections[str] = Connections(2)
    opened(crowd, "a1", "a2")
    crowd.mark_busy("a1")
    assert opened(crowd, "b1") == ["a2"]
    crowd.mark_idle("a1")
    assert opened(crowd, "c1") == ["b1"]


def test_still_idle_is_not_idle_anew() -> None:
    crowd: Connections[str] = Connections(2)
    opened(crowd, "a1", "b1")
    crowd.mark_idle("a1")
    assert opened(crowd, "c1") == ["a1"]


def test_where_nobody_is_idle_the_newcomer_goes() -> None:
    crowd: Connections[str] = Connections(2)
    opened(crowd, "a1", "a2", busy=True)
    assert opened(crowd, "b1") == ["b1"]
    assert opened(crowd, "b2", busy=True) == ["b2"]


def test_nobody_loses_one_to_a_client_that_has_more() -> None:
    crowd: Connections[str] = Connections(3)
    opened(crowd, "a1", "a2", busy=True)
    opened(crowd, "b1")
    assert opened(crowd, "a3") == ["a3"]


def test_a_client_has_no_more_than_its_share_even_where_there_is_room() -> None:
    crowd: Connections[str] = Connections(10, most_of_one=2)
    assert opened(crowd, "a1", "a2", "b1", "a3") == [None, None, None, "a1"]
    crowd.mark_busy("a2")
    crowd.mark_busy("a3")
    assert opened(crowd, "a4") == ["a4"]


def test_what_has_left_is_forgotten() -> None:
    crowd: Connections[str] = Connections(2)
    opened(crowd, "a1", "b1")
    for name in ("a1", "b1", "b1", "never there"):
        crowd.leave(name)
    assert not len(crowd)
    assert not crowd._counts
    assert not crowd._idle
