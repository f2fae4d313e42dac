"""When it pays to ask about a task, given how long such tasks take."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async._sansio.completion import BINS, VAGUE, Masses, bins_between
from ppinfra_async._sansio.poll_plan import PollPlan, plan_polls
from tests.worlds import bill, lognormal, mixed, polls_of, quantile, quantiles

FLOOR, CEILING = 0.25, 10.0


def piled(heaps: dict[int, float]) -> Masses:
    """Return what a fit might bring: some heaps, and hardly anything everywhere else."""
    total = sum(heaps.values())
    return mixed(
        (0.001, VAGUE), (0.999, tuple(heaps.get(number, 0.0) / total for number in range(BINS)))
    )


def even(begin: float, end: float) -> Masses:
    """Return a distribution that is about even between two times."""
    first, last = bins_between(begin, end)
    inside = mixed((1.0, lognormal(end, 3.0)))
    return piled({number: inside[number] for number in range(first, last)})


SHAPES = {
    "narrow": lognormal(15, 0.1),
    "usual": lognormal(15, 0.3),
    "fast": lognormal(1.5, 0.3),
    "slow": lognormal(120, 0.3),
    "broad": lognormal(15, 1.0),
    "two humps": mixed((0.7, lognormal(4, 0.2)), (0.3, lognormal(40, 0.2))),
    "even": even(5, 30),
    "one bin": piled({130: 1.0}),
    "vague": VAGUE,
}

shapes = st.sampled_from(sorted(SHAPES)).map(SHAPES.__getitem__)
known_shapes = shapes.filter(lambda masses: masses is not VAGUE)
heaps = st.dictionaries(st.integers(0, BINS - 1), st.floats(0.001, 1), min_size=1, max_size=8)
any_masses = shapes | heaps.map(piled)
prices = st.floats(0.02, 5)
ages = st.floats(0, 1e5) | st.floats(0, 60)


def usual_plan(masses: Masses, price: float = 0.15, ceiling: float = CEILING) -> PollPlan:
    return plan_polls(masses, price=price, floor=FLOOR, ceiling=ceiling)


def followed(masses: Masses, price: float, ceiling: float = CEILING) -> tuple[float, float]:
    """Return the mean polls and the mean delay of tasks that are asked about by the plan."""
    ends = quantiles(masses)
    return bill(polls_of(usual_plan(masses, price, ceiling), ends[-1]), ends)


def best_fixed(masses: Masses, price: float) -> float:
    """Return what the best fixed interval costs."""
    ends = quantiles(masses)

    def cost(pause: float) -> float:
        polls = sum(math.ceil(end / pause) for end in ends)
        return (price * polls + pause * polls - sum(ends)) / len(ends)

    return min(map(cost, [0.25, 0.5, 0.75, 1, 1.5, 2, 2.75, 3.75, 5, 6, 7.5, 8.5, 9, 10]))


# --- floor and ceiling ------------------------------------------------------------------------------


@given(any_masses, st.floats(1e-3, 1e3), st.floats(1e-4, 50), st.floats(0, 100), ages)
def test_every_pause_is_within_floor_and_ceiling(
    masses: Masses, price: float, floor: float, span: float, age: float
) -> None:
    """At whatever age of the task, early, within and long after everything known."""
    plan = plan_polls(masses, price=price, floor=floor, ceiling=floor + span)

    for at in (0.0, age, quantile(masses, 0.5), quantile(masses, 0.9999)):
        assert floor <= plan.pause(at) <= floor + span


@given(any_masses, st.floats(1e-3, 1e3), ages)
def test_costs_are_not_negative(masses: Masses, price: float, age: float) -> None:
    """One poll at least has to be paid, also for a task that should be done long since."""
    plan = usual_plan(masses, price)

    assert plan.cost >= 0.99 * price
    assert plan.cost_from(0) == pytest.approx(plan.cost, rel=0.05)
    for at in (age, 1e4):
        assert 0.99 * price <= plan.cost_from(at) < math.inf


# --- what it costs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("price", [0.03, 0.15, 1.0])
@pytest.mark.parametrize("shape", sorted(set(SHAPES) - {"slow", "vague"}))
def test_no_fixed_interval_is_cheaper(shape: str, price: float) -> None:
    """Evaluated on the same distribution, whatever its shape: 1 % is left for the grid."""
    masses = SHAPES[shape]
    polls, delay = followed(masses, price)

    assert price * polls + delay <= 1.01 * best_fixed(masses, price)


@pytest.mark.parametrize("price", [0.15, 1.0, 5.0, 20.0])
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_no_fixed_interval_is_much_cheaper_at_the_ceiling(shape: str, price: float) -> None:
    """When the best pauses are longer than the ceiling, the plan is not far from asking at it."""
    masses = SHAPES[shape]
    polls, delay = followed(masses, price)

    assert price * polls + delay <= 1.15 * best_fixed(masses, price)


@pytest.mark.parametrize(
    ("shape", "share"), [("narrow", 0.5), ("usual", 0.7), ("slow", 0.85), ("two humps", 0.7)]
)
def test_much_cheaper_where_much_is_known(shape: str, share: float) -> None:
    """Nobody asks before anything can be done: that is what the plan is for."""
    masses = SHAPES[shape]
    polls, delay = followed(masses, 0.15)

    assert 0.15 * polls + delay <= share * best_fixed(masses, 0.15)


@given(known_shapes, prices)
def test_the_plan_costs_what_it_promises(masses: Masses, price: float) -> None:
    """Who follows it pays that, but for ends an hour apart, which the grid is too coarse for."""
    polls, delay = followed(masses, price)

    assert usual_plan(masses, price).cost == pytest.approx(price * polls + delay, rel=0.1)


@given(known_shapes, prices, st.floats(0.05, 0.9))
def test_what_is_left_costs_what_it_promises(masses: Masses, price: float, share: float) -> None:
    """The cost from some age on is that of the tasks which are unfinished then."""
    plan = usual_plan(masses, price)
    age = quantile(masses, share)
    ends = [end for end in quantiles(masses) if end > age]
    polls = [age + plan.pause(age)]
    while polls[-1] < ends[-1]:
        polls.append(polls[-1] + plan.pause(polls[-1]))
    needed, delay = bill(polls, ends)

    assert plan.cost_from(age) == pytest.approx(price * needed + delay, rel=0.15)


@given(any_masses, prices, st.floats(1, 30))
def test_a_higher_price_never_means_more_polls(masses: Masses, price: float, factor: float) -> None:
    """Fewer polls, more delay; both but for the grid."""
    polls, delay = followed(masses, price, ceiling=5000)
    fewer, longer = followed(masses, price * factor, ceiling=5000)

    assert fewer <= 1.02 * polls
    assert longer >= 0.98 * delay - 0.01


@given(prices, st.floats(0.1, 0.5), st.floats(2, 50))
def test_the_unit_of_time_does_not_matter(price: float, sigma: float, factor: float) -> None:
    """Twice the time at twice the price makes everything twice as long."""
    plan = plan_polls(lognormal(4, sigma), price=price, floor=0.01, ceiling=100)
    scaled = plan_polls(
        lognormal(4 * factor, sigma),
        price=price * factor,
        floor=0.01 * factor,
        ceiling=100 * factor,
    )

    assert scaled.cost == pytest.approx(factor * plan.cost, rel=0.03)
    assert scaled.pause(0) == pytest.approx(factor * plan.pause(0), rel=0.08)


# --- where the polls are ----------------------------------------------------------------------------


def test_the_first_poll_waits_until_something_may_be_done() -> None:
    """And the ones before it, which only the ceiling demands, are spread evenly."""
    plan = plan_polls(SHAPES["narrow"], price=0.15, floor=FLOOR, ceiling=100)
    assert quantile(SHAPES["narrow"], 0.001) < plan.pause(0) < 15

    polls = polls_of(usual_plan(SHAPES["slow"]), 60)
    before = [late - early for early, late in pairwise([0.0, *polls]) if late < 40]
    assert len(before) >= 4
    assert all(8 < pause <= CEILING for pause in before)


def test_no_polls_between_two_humps() -> None:
    """No more than the ceiling demands while nothing ends; many where much does."""
    masses = SHAPES["two humps"]
    free = plan_polls(masses, price=0.15, floor=FLOOR, ceiling=100)
    polls = polls_of(free, 100)
    assert not [poll for poll in polls if 9 < poll < 18]
    assert len([poll for poll in polls if 3 < poll < 6]) >= 3
    assert len([poll for poll in polls if 30 < poll < 55]) >= 4

    bound = plan_polls(masses, price=0.15, floor=FLOOR, ceiling=5)
    assert len([poll for poll in polls_of(bound, 100) if 9 < poll < 18]) <= 2


def test_later_than_everything_known_pauses_grow_with_the_age() -> None:
    """A task that takes ten times as long as any other will not be done in the next second."""
    plan = plan_polls(SHAPES["fast"], price=0.15, floor=FLOOR, ceiling=1000)

    assert plan.pause(100) == pytest.approx(25)
    assert plan.pause(1000) == pytest.approx(250)
    assert usual_plan(SHAPES["fast"]).pause(1000) == pytest.approx(CEILING, rel=0.1)


def test_pauses_shrink_where_ends_are_dense() -> None:
    """Short around the mode, longer in the tail."""
    plan = usual_plan(SHAPES["broad"])

    assert plan.pause(10) < plan.pause(50) < plan.pause(150)


def test_a_floor_above_everything_known_is_kept() -> None:
    """When all tasks are faster than anybody may ask."""
    plan = plan_polls(SHAPES["fast"], price=0.01, floor=20, ceiling=30)

    assert polls_of(plan, 70) == [20, 40, 60, 80]
