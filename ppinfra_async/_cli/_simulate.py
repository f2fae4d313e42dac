"""``ppinfra simulate``: runs the look-alike service until Ctrl-C; refuses to reach the real one."""

from __future__ import annotations

import shlex

import anyio

from ppinfra_async._cli._behaviour import Behaviour
from ppinfra_async._cli._messages import CommandError, ExitCode, command_name
from ppinfra_async._cli._options import Printing
from ppinfra_async._cli._report import line_of_json
from ppinfra_async._cli._running import run
from ppinfra_async._cli._screen import Screen
from ppinfra_async.testing import Counters, Simulator

MODEL = "sd_xl_base_1.0.safetensors"
"""A checkpoint that the simulator knows."""


def simulate(behaviour: Behaviour, printing: Printing) -> ExitCode:
    """Run the command.

    Raises:
        CommandError: something cannot be used.
    """
    screen = printing.screen()
    simulator = Simulator(behaviour.settings())

    async def work() -> None:
        try:
            await _start(simulator)
            _introduce(simulator, screen, as_json=printing.json)
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await simulator.stop()

    ending = run(work, screen)
    if ending.code not in {ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.HUNG_UP}:
        return ending.code
    # To be stopped is how it ends.
    _conclude(simulator.counters, screen, as_json=printing.json)
    screen.drain()
    return ExitCode.DONE


async def _start(simulator: Simulator) -> None:
    try:
        await simulator.start()
    except OSError as error:
        raise CommandError(f"The simulator cannot start ({error.strerror or error}).") from None
    except ValueError as error:
        raise CommandError(str(error)) from None


def _introduce(simulator: Simulator, screen: Screen, *, as_json: bool) -> None:
    environment = {"PPINFRA_API_KEY": simulator.api_key, "PPINFRA_BASE_URL": simulator.url}
    if as_json:
        tree = {"url": simulator.url, "api_key": simulator.api_key, "environment": environment}
        screen.result(line_of_json(tree))
    else:
        screen.result(simulator.url)
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    screen.say(f"The simulator runs at {simulator.url} with the key {simulator.api_key}.")
    screen.say("Nothing asked there reaches the service or is paid. In another terminal:")
    screen.say(
        f"  {variables} {command_name()} img2img cat.png --model {MODEL} "
        "--prompt 'an oil painting of a cat' --out pictures"
    )
    screen.say("Ctrl-C ends it.")


def _conclude(counters: Counters, screen: Screen, *, as_json: bool) -> None:
    if as_json:
        screen.result(line_of_json({"counters": counters.tree()}))
    screen.say(
        f"Tasks accepted: {counters.accepted} ({counters.images} images), "
        f"refused: {counters.refused} ({counters.refused_429} of them with 429), "
        f"status calls: {counters.polls}, downloads: {counters.downloads}."
    )
