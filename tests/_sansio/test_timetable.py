"""What is due when, for many keys."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async._sansio.timetable import Timetable

keys = st.integers(0, 6).map("key {}".format)
# Few, so that many share one; and some between.
times = st.integers(0, 4).map(float) | st.floats(0, 5)

moves = st.one_of(
    st.tuples(st.just("set"), keys, times),
    st.tuples(st.just("set"), keys, times),
    st.tuples(st.just("drop"), keys, st.just(0.0)),
    st.tuples(st.just("take"), st.just(""), times),
)


def entries(table: Timetable) -> int:
    """Return how much it remembers."""
    return sum(map(len, table._keys.values()))


def take_all(table: Timetable, now: float = math.inf) -> list[tuple[float, str]]:
    taken = []
    while (one := table.take(now)) is not None:
        taken.append(one)
    return taken


@given(st.lists(moves, max_size=40))
def test_it_is_like_a_dict_that_is_sorted(life: list[tuple[str, str, float]]) -> None:
    """Whatever is set, moved, dropped and taken."""
    table, due = Timetable(), dict[str, float]()
    for what, key, when in life:
        match what:
            case "set":
                table.set(key, when)
                due[key] = when
            case "drop":
                table.drop(key)
                due.pop(key, None)
            case "take":
                taken = table.take(when)
                if taken is None:
                    assert all(other > when for other in due.values())
                else:
                    assert taken[0] == due.pop(taken[1]) <= when
                    assert all(taken[0] <= other for other in due.values())
        first = table.first()
        assert (first is None) == (not due)
        # What is stale is known, or it would be given back too early or too late.
        assert entries(table) == len(due) + table._stale
        assert (key in table) == (key in due)
        if first is not None:
            assert first[0] == due[first[1]] == min(due.values())
            assert table.earliest <= first[0]

    assert {key: when for when, key in take_all(table)} == due
    assert table.first() is None
    assert table.earliest == math.inf


@given(st.lists(st.tuples(keys, times), max_size=30))
def test_what_is_taken_comes_in_order_of_time(plan: list[tuple[str, float]]) -> None:
    """Each key once, at the time that was said last."""
    table = Timetable()
    for key, when in plan:
        table.set(key, when)
    taken = take_all(table)

    assert [when for when, _ in taken] == sorted(dict(plan).values())
    assert {key: when for when, key in taken} == dict(plan)


def test_nothing_is_taken_before_its_time() -> None:
    """And looking does not take it."""
    table = Timetable()
    table.set("a", 3.0)

    assert table.take(2.999) is None
    assert table.first() == table.first() == (3.0, "a")
    assert table.take(3.0) == (3.0, "a")
    assert table.take(3.0) is None


def test_what_moved_away_is_not_due_where_it_was() -> None:
    """Neither is what was dropped; and a key may come back to where it was."""
    table = Timetable()
    table.set("a", 1.0)
    table.set("b", 1.0)
    table.set("c", 1.0)
    table.set("b", 5.0)
    table.drop("c")
    table.drop("nobody")
    assert take_all(table, 1.0) == [(1.0, "a")]

    table.set("b", 1.0)
    table.set("b", 5.0)
    table.set("b", 1.0)
    assert take_all(table) == [(1.0, "b")]


def test_what_is_said_twice_is_noted_once() -> None:
    """Hints come in crowds."""
    table = Timetable()
    for _ in range(10):
        table.set("a", 1.0)

    assert entries(table) == 1


def test_all_that_was_earliest_may_move_away() -> None:
    """Then the time before which nothing is due is no promise that something is."""
    table = Timetable()
    table.set("a", 1.0)
    table.set("a", 5.0)

    assert table.take(2.0) is None
    assert table.first() == (5.0, "a")


def churn(table: Timetable, random: Random, moves: int, keys: int) -> int:
    """Set, move and drop at random; return the most that was remembered."""
    most = 0
    for _ in range(moves):
        key: Any = f"key {random.randrange(keys)}"
        if random.random() < 0.3:
            table.drop(key)
        else:
            table.set(key, random.choice([1.0, 2.0, random.uniform(0, 1000)]))
        most = max(most, entries(table), len(table._times))
    return most


def test_memory_follows_what_is_waiting() -> None:
    """Thousands of moves among ten keys leave no more than a few behind."""
    assert churn(Timetable(), Random(0), moves=5000, keys=10) <= 2 * 10 + 66


def test_memory_is_given_back() -> None:
    """When most of many keys are dropped, or moved again and again."""
    table = Timetable()
    for number in range(2000):
        table.set(f"{number}", number / 7)
    for number in range(1990):
        table.drop(f"{number}")
    assert entries(table) <= 2 * 10 + 66

    for number in range(2000):
        table.set("1999", float(number))
    assert entries(table) <= 2 * 10 + 66
    assert len(take_all(table)) == 10
    assert (entries(table), len(table._times)) == (0, 0)


def test_keys_that_are_due_together_share_an_entry() -> None:
    """A million tasks on a few beats make a heap of a few times."""
    table = Timetable()
    for number in range(5000):
        table.set(f"{number}", float(number % 20))

    assert len(table._times) == 20
    assert len(take_all(table, 4.0)) == 5 * 250
