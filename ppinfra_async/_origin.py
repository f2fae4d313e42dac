"""The key and the one origin that it goes to, as people give them; refuses to send anything there."""

from __future__ import annotations

import os

from yarl import URL

from ppinfra_async._sansio.addresses import is_local
from ppinfra_async._transport import MaskedText
from ppinfra_async.errors import InvalidKeyError
from ppinfra_async.options import BASE_URL_VARIABLE, KEY_VARIABLES

DEFAULT_BASE_URL = "https://api.ppinfra.com"


def usable_key(given: str | None) -> MaskedText:
    """Return the key as it is sent; people paste it with white space or ``Bearer`` in front.

    Raises:
        InvalidKeyError: when there is none, or it cannot be one.
    """
    found = (os.environ.get(name) for name in KEY_VARIABLES)
    # An empty one that was given is a mistake; it must not lead to somebody else's money.
    key = next((MaskedText(value) for value in found if value), None) if given is None else given
    if key is None:
        raise InvalidKeyError(
            "There is no API key: set the environment variable PPINFRA_API_KEY (or PPIO_API_KEY), "
            "or pass api_key=."
        )
    key = MaskedText(f"{key.strip()} ".removeprefix("Bearer ").strip())
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidKeyError(
            "The API key is not usable: it is empty or has characters that no key has."
        )
    return key


def usable_base_url(given: str | None) -> URL:
    """Return the origin that the key goes to: *given*, the environment's, or PPInfra's.

    Raises:
        ValueError: when the key would not be safe there, or it is no bare address.
    """
    # An empty one that was given is a mistake; it must not lead to the service that costs money.
    text = os.environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL if given is None else given
    try:
        url = URL(text)
        is_bare = not (url.user or url.password or url.query_string or url.fragment)
    except ValueError as error:
        raise ValueError(f"The base URL is not an address ({error}).") from None
    if not is_bare:
        # Not shown: what should not be in it may be a password.
        raise ValueError("The base URL must be scheme, host, port and path only.")
    if not url.host or url.scheme not in {"https", "http"}:
        # Not shown where it may be a key: arguments are easily swapped.
        given_text = f", got {text!r}" if "://" in text or not text else ""
        raise ValueError(f"The base URL must begin with https://{given_text}.")
    if url.scheme == "http" and not is_local(url):
        raise ValueError(
            f"The base URL must be https, or the key could be read on the way, got {text!r}. "
            "Plain http is only for this machine itself."
        )
    return url
