"""How many polls may go, and what one is worth at present."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async import Polling
from ppinfra_async._sansio.poll_budget import PollBudget

pollings = st.builds(
    lambda least, rate: Polling(min_interval=least, polls_per_second=rate),
    least=st.floats(0.01, 2),
    rate=st.floats(0.5, 200),
)

moves = st.one_of(
    st.tuples(st.just("poll"), st.floats(0, 3)),
    st.tuples(st.just("poll"), st.just(0.0)),
    st.tuples(st.just("answered"), st.just(0.0)),
    st.tuples(st.just("failed"), st.just(0.0)),
    st.tuples(st.just("refused"), st.floats(0, 30)),
    st.tuples(st.just("wait"), st.floats(0, 2)),
)


def budget_of(rate: float = 20, **others: Any) -> PollBudget:
    return PollBudget(Polling(polls_per_second=rate, **others))


@define
class Asker:
    """Somebody who asks as often as the budget allows."""

    budget: PollBudget
    now: float = 100.0
    asked_at: list[float] = field(factory=list)

    def poll(self, late: float = 0.0) -> None:
        self.now = max(self.now, self.budget.free_at)
        self.budget.spend(self.now, self.now - late)
        self.asked_at.append(self.now)

    def do(self, what: str, value: float) -> None:
        match what:
            case "poll":
                self.poll(value)
            case "answered":
                self.budget.answered()
            case "failed":
                self.budget.failed()
            case "refused":
                self.budget.refused(self.now, value)
            case "wait":
                self.now += value

    def at_once(self) -> int:
        """Return how many went at the time of the first, but for a rounding error."""
        return sum(when < self.asked_at[0] + 1e-9 for when in self.asked_at)

    def rate(self) -> float:
        """Return how many polls may go per second at present, apart from what may go at once."""
        self.now += 10
        for _ in range(10):
            self.poll()
        begin = self.now
        for _ in range(20):
            self.poll()
        return 20 / (self.now - begin)


# --- the rate ---------------------------------------------------------------------------------------


@given(pollings, st.lists(moves, min_size=10, max_size=60))
def test_never_more_polls_than_configured(polling: Polling, life: list[tuple[str, float]]) -> None:
    """In any time, no more than the budget of this time and of one beat, whatever the service says."""
    asker = Asker(PollBudget(polling))
    for what, value in life:
        asker.do(what, value)

    gap = 1 / polling.polls_per_second
    for number, late in enumerate(asker.asked_at):
        for distance, early in enumerate(reversed(asker.asked_at[:number]), start=1):
            assert late >= early + distance * gap - asker.budget.allowance - 1e-9


@given(pollings)
def test_what_goes_at_once_is_the_budget_of_a_beat(polling: Polling) -> None:
    """One poll more than fits into it; a beat is a tenth of a second, or half of the shortest pause."""
    asker = Asker(PollBudget(polling))
    beat = asker.budget.beat
    assert beat == min(0.1, polling.min_interval / 2)
    for _ in range(400):
        asker.poll()

    # Rounding may make one more or less of a whole number.
    assert asker.at_once() == pytest.approx(0.5 + beat * polling.polls_per_second, abs=0.51)
    whole = (400 - asker.at_once()) / polling.polls_per_second
    assert asker.now - 100 == pytest.approx(whole, abs=1.01 / polling.polls_per_second)


@pytest.mark.parametrize(("rate", "at_once"), [(1, 1), (20, 3), (1000, 101)])
def test_some_may_go_at_once(rate: float, at_once: int) -> None:
    """What fits into a tenth of a second, and one."""
    asker = Asker(budget_of(rate))
    for _ in range(2 * at_once):
        asker.poll()

    assert asker.at_once() == at_once


# --- refusals ---------------------------------------------------------------------------------------


def test_a_refusal_halves_the_rate() -> None:
    """So the service has room to breathe, after the pause that it asked for."""
    asker = Asker(budget_of(20))
    assert asker.rate() == pytest.approx(20)

    asker.budget.refused(asker.now, 3)
    assert asker.budget.free_at == asker.now + 3
    assert asker.rate() == pytest.approx(10)


def test_refusals_of_one_story_count_once() -> None:
    """Several polls were under way; the next second's refusal is another story."""
    asker = Asker(budget_of(20))
    for part in range(5):
        asker.budget.refused(asker.now + part / 10, 0)
    assert asker.rate() == pytest.approx(10)

    asker.budget.refused(asker.now, 0)
    assert asker.rate() == pytest.approx(5)


def test_refusals_that_do_not_end_slow_down_more_and_more() -> None:
    """Also when they come faster than stories may follow each other."""
    asker = Asker(budget_of(20))
    for part in range(20):
        asker.budget.refused(asker.now + part / 2, 0)
    asker.now += 10

    assert asker.rate() == pytest.approx(1)


def test_some_polls_always_remain() -> None:
    """A twentieth, so that the end of the refusals is noticed; the same after failures, and both."""
    refused, failed, both = (Asker(budget_of(20)) for _ in range(3))
    for _ in range(30):
        for asker in (refused, both):
            asker.now += 5
            asker.budget.refused(asker.now, 0)
        for asker in (failed, both):
            asker.budget.failed()

    assert [asker.rate() for asker in (refused, failed, both)] == [pytest.approx(1)] * 3

    # The first answers after it are felt.
    for _ in range(10):
        refused.budget.answered()
    assert refused.rate() == pytest.approx(1.2)


def test_the_rate_comes_back() -> None:
    """Quickly up to near the rate that was refused, slowly beyond; then all of it."""
    asker = Asker(budget_of(20))
    asker.budget.refused(asker.now, 0)

    def answers_until(wanted: float) -> int:
        answers = 0
        while asker.rate() < wanted:
            asker.budget.answered()
            answers += 1
        return answers

    assert 10 <= answers_until(16.9) <= 30
    assert 100 <= answers_until(19.9) <= 200
    for _ in range(20):
        asker.budget.answered()
    assert asker.rate() == pytest.approx(20)


def test_what_was_refused_is_remembered() -> None:
    """The second time, the rate is raised carefully from further below."""
    asker = Asker(budget_of(20))
    asker.budget.refused(asker.now, 0)
    for _ in range(5):
        asker.budget.answered()
    asker.now += 5
    asker.budget.refused(asker.now, 0)
    assert asker.rate() == pytest.approx(6)
    for _ in range(20):
        asker.budget.answered()

    assert 10.2 <= asker.rate() < 11


@pytest.mark.parametrize(
    ("retry_after", "pause"), [(0, 0.25), (0.1, 0.25), (3, 3), (10, 10), (3600, 10)]
)
def test_a_refusal_pauses_all_polls(retry_after: float, pause: float) -> None:
    """For as long as the service asks, within floor and ceiling; a shorter one does not cut it."""
    budget = budget_of()
    budget.refused(100, retry_after)
    budget.refused(100, 0)

    assert budget.free_at == 100 + pause


# --- failures ---------------------------------------------------------------------------------------


def test_a_run_of_failures_slows_down_and_answers_speed_up() -> None:
    """A tenth less with each; one answer takes half of them back."""
    asker = Asker(budget_of(20))
    rates = []
    for _ in range(8):
        asker.budget.failed()
        rates.append(asker.rate())
    assert rates == pytest.approx([20 * 0.9**number for number in range(1, 9)])

    rates = []
    for _ in range(4):
        asker.budget.answered()
        rates.append(asker.rate())
    assert rates == pytest.approx([20 * 0.9**4, 20 * 0.9**2, 20 * 0.9, 20])


def test_a_thousand_failures_are_over_after_a_few_answers() -> None:
    """Not after another thousand."""
    asker = Asker(budget_of(20))
    for _ in range(1000):
        asker.budget.failed()
    for _ in range(6):
        asker.budget.answered()

    assert asker.rate() == pytest.approx(20)


# --- the price --------------------------------------------------------------------------------------


def late_for(asker: Asker, seconds: int) -> list[float]:
    """Poll once a second, each time late; return the prices."""
    prices = []
    for _ in range(seconds):
        asker.now += 1.0
        asker.poll(late=2.0)
        prices.append(asker.budget.price)
    return prices


def calm_for(asker: Asker, seconds: int) -> list[float]:
    """Poll once a second, each time in time; return the prices."""
    prices = []
    for _ in range(seconds):
        asker.now += 1.0
        asker.poll()
        prices.append(asker.budget.price)
    return prices


def test_the_price_rises_while_the_budget_is_short() -> None:
    """By half per second, so that fewer polls are asked for; not without end."""
    asker = Asker(budget_of(20, price=0.2))
    assert asker.budget.price == 0.2

    assert late_for(asker, 3) == pytest.approx([0.3, 0.45, 0.675])
    late_for(asker, 100)
    assert asker.budget.price == pytest.approx(0.2 * 1.5**12)


def test_the_price_falls_again() -> None:
    """More slowly than it rose, and never below what was configured."""
    asker = Asker(budget_of(20, price=0.2))
    late_for(asker, 3)

    assert calm_for(asker, 6) == pytest.approx([0.675, 0.675, 0.45, 0.45, 0.45, 0.3])
    calm_for(asker, 20)
    assert (asker.budget.level, asker.budget.price) == (0, 0.2)


def test_many_late_polls_of_one_second_raise_the_price_once() -> None:
    """They are one sign, not many."""
    asker = Asker(budget_of(1000))
    for _ in range(50):
        asker.poll(late=2.0)

    assert asker.now < 101
    assert asker.budget.level == 1


def test_the_price_stays_while_the_budget_is_used_up() -> None:
    """In time is not enough: at a lower price more would be asked for than may go."""
    asker = Asker(budget_of(2))
    late_for(asker, 3)
    for _ in range(40):
        asker.poll()
    assert asker.budget.level == 3


def test_a_little_late_is_neither() -> None:
    """Half a second may come from a busy event loop."""
    asker = Asker(budget_of(20))
    late_for(asker, 3)
    for _ in range(20):
        asker.now += 1.0
        asker.poll(late=0.4)

    assert asker.budget.level == 3


@given(pollings, st.lists(st.tuples(st.floats(0, 20), st.floats(0, 3)), max_size=60))
def test_the_price_is_always_one_of_a_few(
    polling: Polling, life: list[tuple[float, float]]
) -> None:
    """Plans are made for each: thirteen at most, none below the configured one."""
    asker = Asker(PollBudget(polling))
    for wait, late in life:
        asker.now += wait
        asker.poll(late)
        assert 0 <= asker.budget.level <= 12
        assert asker.budget.price == polling.price * 1.5**asker.budget.level
