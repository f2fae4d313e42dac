"""Runs a simulator from the command line until it is interrupted; prints its URL first."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from ppinfra_async.testing._settings import CHOICES, Settings
from ppinfra_async.testing._simulator import Simulator

FLAGS: Mapping[str, Callable[[str], Any]] = {
    "host": str,
    "port": int,
    "result_port": int,
    "api_key": str,
    "keepalive": float,
    "receive_buffer": int,
    "state": Path,
    "seed": int,
    "queue": str,
    "processing": str,
    "unknown_for": float,
    "not_found_for": float,
    "forget_after": float,
    "failure_rate": float,
    "failure_reason": str,
    "images_per_minute": int,
    "window": str,
    "minute": float,
    "polls_per_second": int,
    "retry_after": str,
    "balance": int,
    "multiple_of": int,
    "max_image_side": int,
    "max_image_bytes": int,
    "max_body_bytes": int,
    "envelope": str,
    "naming": str,
    "ttl_style": str,
    "progress": str,
    "eta": str,
    "result_ttl": float,
}
SWITCHES = ("control", "check_models", "debug_times", "resign", "tiny_images")


def settings_from(arguments: Sequence[str]) -> Settings:
    """Read `Settings` from flags of the same names, with dashes."""
    parser = argparse.ArgumentParser(
        prog="python -m ppinfra_async.testing", description="A look-alike of PPInfra's image API."
    )
    for name, read in FLAGS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=read,
            choices=CHOICES.get(name),
            default=argparse.SUPPRESS,
        )
    for name in SWITCHES:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
        )
    chosen = vars(parser.parse_args(arguments))
    try:
        return Settings(**chosen)
    except ValueError as problem:
        parser.error(str(problem))


async def serve(settings: Settings) -> None:
    """Run until cancelled; with `Settings.control`, also until standard input ends."""
    async with Simulator(settings) as simulator:
        sys.stdout.write(f"{simulator.url}\n")
        sys.stdout.flush()
        if settings.control:
            # The parent's death closes the pipe, so no simulator is left behind. The plain system
            # call holds no lock that would be in the way of the interpreter's exit.
            await to_thread.run_sync(os.read, 0, 1, abandon_on_cancel=True)
        else:
            await anyio.sleep_forever()


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    with contextlib.suppress(KeyboardInterrupt):
        anyio.run(serve, settings_from(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
