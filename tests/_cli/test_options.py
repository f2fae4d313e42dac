"""Options, and what is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppinfra_async import Embedding, Extra, ImageType, Lora, Sampler
from ppinfra_async._cli._behaviour import Behaviour
from ppinfra_async._cli._messages import CommandError, ExitCode
from ppinfra_async._cli._options import Ask, Printing, Service, TaskService, limits, require_key
from ppinfra_async.errors import InvalidRequestError
from ppinfra_async.options import Limits

CAT = Path("cat.png")


def test_every_option_reaches_the_request() -> None:
    """What a person types is what is asked."""
    ask = Ask(
        model="m.safetensors",
        prompt="a cat",
        negative_prompt="-dog",
        strength=0.6,
        image_num=3,
        seed=-1,
        width=512,
        height=640,
        fit=1024,
        steps=30,
        guidance_scale=8.5,
        sampler_name="DPM++ 2M Karras",
        clip_skip=2,
        sd_vae="v.safetensors",
        lora=("detail:0.4", "grain"),
        embedding=("hand",),
        response_image_type="webp",
    )
    request = ask.request(CAT)
    assert request.image.path == CAT
    assert request.image.fit == 1024
    assert request.loras == (Lora("detail", 0.4), Lora("grain", 1.0))
    assert request.embeddings == (Embedding("hand"),)
    assert request.extra == Extra(response_image_type=ImageType.WEBP)
    assert request.sampler_name is Sampler.DPMPP_2M_KARRAS
    assert (request.model_name, request.prompt) == ("m.safetensors", "a cat")
    assert (request.negative_prompt, request.sd_vae) == ("-dog", "v.safetensors")
    assert (request.width, request.height, request.image_num) == (512, 640, 3)
    assert (request.strength, request.guidance_scale) == (0.6, 8.5)
    assert (request.steps, request.seed, request.clip_skip) == (30, -1, 2)


def test_what_is_not_typed_is_left_to_the_package() -> None:
    """Without options the request is the package's own default."""
    request = Ask(model="m", prompt="p").request(CAT)
    assert (request.width, request.strength, request.seed, request.extra) == (None,) * 4
    assert (request.loras, request.embeddings) == ((), ())


def test_everything_wrong_is_reported_at_once() -> None:
    """One try shows all mistakes, those in parts of the request too."""
    ask = Ask(
        model="",
        prompt="x" * 2000,
        width=100,
        fit=9999,
        lora=("a:much", "b:2"),
        response_image_type="gif",
    )
    with pytest.raises(InvalidRequestError) as caught:
        ask.request(CAT)
    paths = sorted(broken.path for broken in caught.value.violations)
    assert paths == ["fit", "lora", "lora", "model_name", "prompt", "response_image_type", "width"]


@pytest.mark.parametrize(
    ("text", "expected"), [("auto", Limits()), ("20", Limits(images_per_minute=20))]
)
def test_a_quota_is_a_number_or_found_out(text: str, expected: Limits) -> None:
    """Both forms of --images-per-minute are read."""
    assert limits(text) == expected


@pytest.mark.parametrize("text", ["0", "-3", "many", "1.5", ""])
def test_a_quota_that_makes_no_sense_is_refused(text: str) -> None:
    """The sentence names the option and what was given."""
    with pytest.raises(CommandError, match=f"--images-per-minute must .*, got '{text}'"):
        limits(text)


def test_a_timeout_counts_for_the_whole_wait() -> None:
    """A task in work is waited for as long as the person said."""
    polling = TaskService(timeout=3600).polling()
    assert (polling.total_deadline, polling.processing_deadline) == (3600, 3600)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_that_is_no_time_is_refused(seconds: float) -> None:
    """The sentence names the option."""
    with pytest.raises(CommandError, match="--timeout must be above 0 seconds"):
        TaskService(timeout=seconds).polling()


def test_tries_that_make_no_sense_are_refused() -> None:
    """The sentence names the option."""
    assert Service(attempts=3).retries().attempts == 3
    with pytest.raises(CommandError, match="--attempts must be 1 or more, got 0"):
        Service(attempts=0).retries()


def test_a_missing_key_is_one_sentence_that_says_where_to_put_it() -> None:
    """Nobody has to look for the documentation to get started."""
    with pytest.raises(CommandError) as caught:
        require_key()
    assert caught.value.code is ExitCode.ACCOUNT
    assert str(caught.value) == (
        "There is no API key: put yours into the environment variable PPINFRA_API_KEY "
        "(export PPINFRA_API_KEY=sk_…); `ppinfra demo` needs none. Nothing was sent or paid."
    )


@pytest.mark.parametrize("name", ["PPINFRA_API_KEY", "PPIO_API_KEY"])
def test_either_variable_may_hold_the_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both brands' names are accepted."""
    monkeypatch.setenv(name, "sk_x")
    require_key()


@pytest.mark.parametrize(("value", "debug"), [("1", True), ("0", False), ("", False)])
def test_the_environment_can_ask_for_tracebacks(
    value: str,
    debug: bool,  # noqa: FBT001  # a case of the table
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PPINFRA_DEBUG=1 does what --debug does."""
    monkeypatch.setenv("PPINFRA_DEBUG", value)
    assert Printing().screen().debug is debug
    assert Printing(debug=True).screen().debug


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (Behaviour(queue="soon"), "--queue must be seconds, .* got 'soon'"),
        (Behaviour(processing="uniform:1"), "--processing must be seconds, .* got 'uniform:1'"),
        (Behaviour(processing="-1"), "--processing must be seconds"),
        (Behaviour(processing="exponential:0"), "--processing must be seconds"),
        (Behaviour(queue="nan"), "--queue must be seconds"),
        (Behaviour(images_per_minute=0), "--images-per-minute must be 1 or more, got 0"),
        (Behaviour(balance=-1), "--balance must be 0 or more, got -1"),
        (Behaviour(failure_rate=1.5), "--failure-rate must be 0 to 1, got 1.5"),
        (Behaviour(port=70000), "--port must be 0 to 65535, got 70000"),
    ],
)
def test_a_simulator_that_makes_no_sense_is_refused(behaviour: Behaviour, words: str) -> None:
    """One sentence names the option and what is allowed."""
    with pytest.raises(CommandError, match=words):
        behaviour.settings()


def test_the_simulator_is_set_as_it_was_typed() -> None:
    """Every option is a setting of the simulator."""
    settings = Behaviour(
        port=8080, images_per_minute=10, window="bucket", queue="1", seed=3, tiny_images=True
    ).settings()
    assert (settings.port, settings.images_per_minute, settings.window) == (8080, 10, "bucket")
    assert (settings.queue, settings.seed, settings.tiny_images) == ("1", 3, True)
