"""What a client tells while it works."""

from __future__ import annotations

from typing import Any, get_args

import attrs
import pytest

from ppinfra_async import Img2Img, TaskResult, TaskStatus, TaskUpdate, errors, events

UPDATE = TaskUpdate(task_id="t1", status=TaskStatus.QUEUED, raw={"image_base64": "secret"})
REQUEST = Img2Img(model_name="m", image=b"secret picture", prompt="p")

EVENTS: list[Any] = [
    events.InputReencoded(path="image", name="cat.png", why="fit", size=(2048, 1536)),
    events.SubmitDelayed(error=errors.RateLimitedError("429"), wait=2.0),
    events.TaskSubmitted(task_id="t1", request=REQUEST),
    events.TaskAbandoned(task_id="t1"),
    events.SubmitAbandoned(error=errors.SubmitOutcomeUnknownError("cut")),
    events.TaskPolled(update=UPDATE),
    events.PollFailed(task_id="t1", error=errors.ServiceError("500")),
    events.ResultDelivered(result=TaskResult(task_id="t1", status=TaskStatus.SUCCEED)),
]


def test_every_kind_of_event_is_here() -> None:
    """`Event` is the union of all of them, and each can be imported by name."""
    kinds = {type(event) for event in EVENTS}

    assert set(get_args(events.Event)) == kinds
    assert set(events.__all__) == {"Event", *(kind.__name__ for kind in kinds)}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_a_frozen_value(event: Any) -> None:
    """It can be kept and compared, shows no picture, and its attributes are explained."""
    kind: Any = type(event)
    values = {field.name: getattr(event, field.name) for field in attrs.fields(kind)}

    assert event == kind(**values)
    assert "secret" not in repr(event)
    assert all(f"{name}: " in kind.__doc__ for name in values)
    for name in values:
        with pytest.raises(AttributeError):
            setattr(event, name, None)
