"""How much of a stream may be under way, as laws over every order of events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async._sansio.flow import Flow, bytes_expected

JOBS = 40


def walk(flow: Flow, sizes: list[int], choices: list[int]) -> tuple[list[int], int, int]:
    """Run jobs to their end in an order that *choices* decide; return order, most jobs, most bytes."""
    fetching: list[int] = []
    held: list[int] = []
    taken: list[int] = []
    most_jobs = most_bytes = pulled = 0
    while len(taken) < len(sizes):
        moves = []
        if pulled < len(sizes) and flow.may_pull:
            moves.append("pull")
        moves += ["fetch"] * bool(fetching) + ["finish"] * bool(held) + ["take"] * bool(pulled)
        move = moves[choices.pop() % len(moves)] if choices else None
        if move == "pull" or (move is None and "pull" in moves):
            index = flow.pull()
            flow.want(index)
            fetching.append(index)
            pulled += 1
        if move in {"fetch", None}:
            for job in [job for job in fetching if flow.hold(job, sizes[job])]:
                fetching.remove(job)
                held.append(job)
        if move in {"finish", None} and held:
            flow.ready(held.pop(0))
        if move in {"take", None} and (done := flow.take()) is not None:
            taken.append(done)
        most_jobs = max(most_jobs, pulled - len(taken))
        most_bytes = max(most_bytes, flow._bytes)
    return taken, most_jobs, most_bytes


@given(
    sizes=st.lists(st.integers(0, 100), min_size=1, max_size=JOBS),
    choices=st.lists(st.integers(0, 3), max_size=200),
    at_most=st.integers(1, 8),
    max_bytes=st.integers(0, 150),
    ordered=st.booleans(),
)
def test_stream_is_bounded_and_always_ends(
    sizes: list[int], choices: list[int], at_most: int, max_bytes: int, *, ordered: bool
) -> None:
    """In every order of events: bounded in jobs and bytes, all taken once, in order if asked."""
    flow = Flow(at_most, ordered=ordered, max_bytes=max_bytes)

    taken, most_jobs, most_bytes = walk(flow, sizes, choices)

    assert sorted(taken) == list(range(len(sizes)))
    assert not ordered or taken == sorted(taken)
    assert most_jobs <= at_most
    assert most_bytes <= max_bytes + max(sizes)
    assert flow.is_empty
    assert flow._bytes == 0


def test_large_job_is_not_overtaken_for_ever() -> None:
    """Small jobs that came later wait behind a large one that does not fit yet."""
    flow = Flow(10, max_bytes=10)
    first, large, small = flow.pull(), flow.pull(), flow.pull()
    for index in (first, large, small):
        flow.want(index)
    assert flow.hold(first, 5)

    assert not flow.hold(large, 8)
    assert not flow.hold(small, 1)

    flow.ready(first)
    assert flow.take() == first
    assert flow.hold(large, 8)
    assert flow.hold(small, 1)


def test_job_that_fails_gives_back_what_it_held() -> None:
    """An end without pictures frees the bytes, whether it waited for them or had them."""
    flow = Flow(10, max_bytes=10)
    one, two, three = flow.pull(), flow.pull(), flow.pull()
    for index in (one, two, three):
        flow.want(index)
    assert flow.hold(one, 10)
    flow.give_up(two)
    assert not flow.hold(three, 10)

    flow.give_up(one)

    assert flow.hold(three, 10)


def test_true_size_replaces_the_expected_one() -> None:
    """What a job really holds counts once it is known."""
    flow = Flow(10, max_bytes=10)
    one, two = flow.pull(), flow.pull()
    flow.want(one)
    flow.want(two)
    assert flow.hold(one, 10)
    flow.correct(one, 2)

    assert flow.hold(two, 8)


def test_expected_bytes_count_pixels_only_when_decoded() -> None:
    """Four bytes a pixel on top of the file where it is decoded."""
    assert bytes_expected(100, 10, 2, decode=False) == 6000
    assert bytes_expected(100, 10, 2, decode=True) == 14000
