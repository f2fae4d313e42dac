"""The only user of aiohttp's client; refuses to decide what a reply or a failure means."""

from ppinfra_async._transport.protocol import (
    CommitPoint,
    Fetched,
    MaskedText,
    Transport,
    Withdrawn,
)
from ppinfra_async._transport.session import AiohttpTransport

__all__ = ["AiohttpTransport", "CommitPoint", "Fetched", "MaskedText", "Transport", "Withdrawn"]
