"""TLS for a server that calls itself localhost; its key is in the repository and protects nothing."""

from __future__ import annotations

import ssl
from pathlib import Path

CERTIFICATE = Path(__file__).parent / "certificates" / "localhost.pem"


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_context() -> ssl.SSLContext:
    """Trust that server, and nobody else."""
    return ssl.create_default_context(cafile=CERTIFICATE)


def trusting_context() -> ssl.SSLContext:
    """Trust everybody, for tests where that server plays a host of another name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
