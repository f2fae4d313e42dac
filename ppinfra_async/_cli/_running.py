"""Runs a command's work on an event loop and ends it in order; refuses to know what the work is."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
from attrs import define

from ppinfra_async._background import first_in_group
from ppinfra_async._cli._messages import ExitCode, exit_code, sentence
from ppinfra_async._cli._screen import Screen, View, prepare_streams

Work = Callable[[], Awaitable[None]]


@define(eq=False)
class Ending:
    """How the work ended.

    Attributes:
        code: DONE, INTERRUPTED, TERMINATED, HUNG_UP, or what an error that nobody caught stands for.
        error: That error.
        stopped_by: What to end with after a signal that stopped the work.
    """

    code: ExitCode = ExitCode.DONE
    error: BaseException | None = None
    stopped_by: ExitCode | None = None


def run(
    work: Work, screen: Screen, *, stop: Work | None = None, view: View | None = None
) -> Ending:
    """Run *work* with *screen* beside it.

    Ctrl-C, SIGTERM and SIGHUP call *stop* and wait until the work has ended by itself; without
    *stop* the work is cancelled. A second Ctrl-C ends everything at once.
    """
    prepare_streams()
    _silence_logging(debug=screen.debug)
    ending = Ending()

    async def everything() -> None:
        # Not every system knows these signals, and only the main thread may listen to any.
        with suppress(NotImplementedError, ValueError, RuntimeError, AttributeError):
            # asyncio's own handler raises the second one in the middle of whatever is running, which
            # may be the bookkeeping of a cancellation.
            _cancel_on(signal.SIGINT, ExitCode.INTERRUPTED, ending)
            _cancel_on(signal.SIGTERM, ExitCode.TERMINATED, ending)
            _cancel_on(signal.SIGHUP, ExitCode.HUNG_UP, ending)
        async with anyio.create_task_group() as group:
            group.start_soon(screen.pump)
            try:
                await _until_stopped(work, stop)
            finally:
                screen.end_pump()

    with screen.showing(view):
        try:
            anyio.run(everything)
        except BaseException as error:  # whatever it is, the command ends with one sentence
            _note_end(ending, first_in_group(error), screen)
    screen.drain()
    return ending


def _note_end(ending: Ending, error: BaseException, screen: Screen) -> None:
    if isinstance(error, KeyboardInterrupt | asyncio.CancelledError):
        ending.code = ending.stopped_by or ExitCode.INTERRUPTED
        return
    ending.code, ending.error = exit_code(error), error
    report(error, screen)


def report(error: BaseException, screen: Screen, about: str = "ppinfra") -> None:
    """Put the sentence about *error* on stderr, and its traceback when that was asked for."""
    screen.say(f"{about}: {sentence(error)}")
    if screen.debug:
        for line in "".join(traceback.format_exception(error)).splitlines():
            screen.say(line)


async def _until_stopped(work: Work, stop: Work | None) -> None:
    if stop is None:
        await work()
        return
    ended = anyio.Event()
    shelter = anyio.CancelScope(shield=True)

    async def work_to_its_end() -> None:
        try:
            with shelter:
                await work()
        finally:
            ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(work_to_its_end)
        try:
            await ended.wait()
        except BaseException:
            try:
                with anyio.CancelScope(shield=True):
                    await stop()
                    await ended.wait()
            except BaseException:
                # Interrupted again: no patience is left.
                shelter.cancel()
                raise
            raise


def _cancel_on(number: signal.Signals, code: ExitCode, ending: Ending) -> None:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # called in one
    if signal.getsignal(number) is signal.SIG_IGN:
        # As `nohup` wants it.
        return

    left = 2

    def cancel() -> None:
        nonlocal left
        ending.stopped_by = code
        task.cancel()
        left -= 1
        if number is signal.SIGINT and not left:
            # Should even that not end it, a third one does.
            asyncio.get_running_loop().remove_signal_handler(number)

    asyncio.get_running_loop().add_signal_handler(number, cancel)


def _silence_logging(*, debug: bool) -> None:
    """Keep log lines off the terminal: what matters in them is said in sentences."""
    root = logging.getLogger()
    if debug:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    elif not root.handlers:
        root.addHandler(logging.NullHandler())
