"""Makes the client of a command; refuses to take a key from anywhere but the environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ppinfra_async._cli._messages import CommandError
from ppinfra_async._cli._options import Service, require_key
from ppinfra_async._cli._saving import Folder
from ppinfra_async._client import Client
from ppinfra_async.events import Event
from ppinfra_async.options import Limits, Polling


def make_client(
    service: Service,
    *,
    limits: Limits | None = None,
    polling: Polling | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Client:
    """Make a client for *service*; to be used on the event loop that runs next.

    Without *polling* it is the service's own.

    Raises:
        CommandError: no key, no usable address or patience.
    """
    require_key()
    polling, retries = polling or service.polling(), service.retries()
    try:
        return Client(
            base_url=service.base_url,
            limits=limits,
            polling=polling,
            retries=retries,
            on_event=on_event,
        )
    except ValueError as error:
        raise CommandError(f"{str(error).rstrip('.')}. Nothing was sent or paid.") from None


def open_folder(path: Path) -> Folder:
    """Open the folder for pictures.

    Raises:
        CommandError: when nothing can be written there.
    """
    try:
        return Folder.opened(path)
    except OSError as error:
        raise CommandError(
            f"The folder {path} cannot be written ({error.strerror}): choose another with --out. "
            "Nothing was sent or paid."
        ) from None
