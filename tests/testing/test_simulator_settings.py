"""Settings, latencies and faults that make no sense: one clear sentence, and at once."""

import math
from typing import Any

import pytest

from ppinfra_async.testing import (
    Call,
    Fault,
    Faults,
    Settings,
    Simulator,
    exponential,
    lognormal,
    mixture,
    simulator_process,
    uniform,
)
from ppinfra_async.testing.__main__ import settings_from
from ppinfra_async.testing._settings import CHOICES

LATENCIES: list[Any] = [
    -5, math.nan, math.inf, "-1", "nan", "", "abc", "gaussian:1,2", "uniform:1", "uniform:2,1",
    "uniform:-1,2", "lognormal:3.8", "lognormal:0,0.3", "lognormal:3,-1", "exponential:0",
    "constant:1,2", "uniform:a,b",
]  # fmt: skip

WRONG: list[tuple[str, Any]] = [
    *[(name, value) for name in ("queue", "processing") for value in LATENCIES],
    *[(name, "nonsense") for name in CHOICES],
    *[("failure_rate", value) for value in (-0.1, 1.1, 20, math.nan)],
    *[(name, value) for name in ("port", "result_port") for value in (-1, 65536)],
    *[
        (name, value)
        for name in ("keepalive", "unknown_for", "not_found_for", "forget_after", "result_ttl")
        for value in (-1, math.nan)
    ],
    *[("minute", value) for value in (0, -1, math.nan, math.inf)],
    *[
        (name, 0) for name in
        ("multiple_of", "max_image_side", "max_image_bytes", "max_body_bytes", "receive_buffer")
    ],
    *[(name, -1) for name in ("images_per_minute", "polls_per_second", "balance")],
    ("images_per_minute", {"img2imgg": 1}),
    ("images_per_minute", {"img2img": -1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_setting_that_makes_no_sense_is_refused_at_once(name: str, value: Any) -> None:
    """One sentence that begins with its name."""
    options: dict[str, Any] = {name: value}
    for make in (Settings, Simulator, simulator_process):
        with pytest.raises(ValueError, match=rf"^{name}.*\.$") as caught:
            make(**options)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"failure_rate": 0}, {"failure_rate": 1}, {"queue": 0}, {"queue": "uniform:1,1"},
        {"images_per_minute": {"img2img": 3}}, {"images_per_minute": 0}, {"minute": 0.05},
        {"retry_after": None}, {"forget_after": None}, {"balance": 0}, {"result_ttl": 0},
        {"processing": lognormal(1, 0)}, {"queue": mixture([(0, 1), (1, 2)])},
        *[{name: value} for name, values in CHOICES.items() for value in values],
    ],
)  # fmt: skip
def test_the_bounds_make_sense(options: dict[str, Any]) -> None:
    """What is allowed just so."""
    Settings(**options)


def test_a_function_is_asked_once_per_task() -> None:
    """It may count or give out prepared numbers, so nothing tries it before."""
    asked = []

    def latency(_: Any) -> float:
        asked.append(1)
        return 0.0

    Simulator(queue=latency, processing=latency)
    assert not asked


@pytest.mark.parametrize(
    "make",
    [
        lambda: uniform(2, 1),
        lambda: uniform(0, math.inf),
        lambda: lognormal(0, 1),
        lambda: exponential(-1),
        lambda: mixture([]),
        lambda: mixture([(0, 1)]),
        lambda: mixture([(-1, 1), (2, 1)]),
        lambda: mixture([(1, -3)]),
        lambda: Fault.slow(0),
        lambda: Fault.slow_read(0),
        lambda: Fault.slow_read(math.nan),
        lambda: Fault.delay(-1),
        lambda: Fault.never_read(-1),
        lambda: Faults().order("submit", Fault.html(), times=0),
        lambda: Faults().order("elsewhere", Fault.html()),  # type: ignore[arg-type]  # the point
    ],
)
def test_latencies_and_faults_are_checked_too(make: Any) -> None:
    """Where they are made, not where they would be used."""
    with pytest.raises(ValueError, match=r"must be|fits"):
        make()


@pytest.mark.parametrize(
    ("fault", "places"),
    [
        (Fault.never_read(), {"submit"}),
        (Fault.slow_read(5), {"submit"}),
        (Fault.cut_at(5), {"submit"}),
        (Fault.cut_before_read(), {"submit"}),
        (Fault.status(503, early=True), {"submit"}),
        (Fault.outcome(produced=1), {"submit"}),
        (Fault.image_url("http://a"), {"poll"}),
        (Fault.unknown_status(), {"poll"}),
        (Fault.edited(lambda tree: tree), {"submit", "poll", "models", "account"}),
        (Fault.html(), {"submit", "poll", "models", "account", "download"}),
        (Fault.slow(5), {"submit", "poll", "models", "account", "download"}),
    ],
)
@pytest.mark.parametrize("where", ["submit", "poll", "models", "account", "download"])
def test_a_fault_can_be_ordered_only_where_it_fits(
    fault: Fault, places: set[str], where: Any
) -> None:
    """Elsewhere it would do nothing, or crash."""
    faults = Faults()
    if where in places:
        faults.order(where, fault)
        assert faults.take(Call(where, 1, {}, body={})) or faults.take(Call(where, 1, {}))
    else:
        with pytest.raises(ValueError, match=f"{fault.kind} fits .*, not '{where}'"):
            faults.order(where, fault)
        assert not faults.waiting


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("--window=slding", "invalid choice: 'slding'"),
        ("--retry-after=never", "invalid choice: 'never'"),
        ("--failure-rate=20", "failure_rate must be 0 to 1, got 20.0."),
        ("--queue=exponential:0", "queue: the mean of an exponential latency must be more than 0"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    argument: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As argparse does: the usage, one sentence and status 2, no traceback."""
    with pytest.raises(SystemExit) as caught:
        settings_from([argument])
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "phrase"),
    [(502, "502 Bad Gateway"), (503, "503 Service Unavailable"), (520, "520 Unknown")],
)
def test_a_gateways_page_names_its_status(code: int, phrase: str) -> None:
    """And no other."""
    assert phrase.encode() in Fault.html(code).answer.body
