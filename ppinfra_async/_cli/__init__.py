"""The command ``ppinfra``; refuses to import anything heavy before it knows what is wanted."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_INTERRUPTED = 130
_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What follows ``ppinfra``; None takes the process's own.

    Returns:
        The exit code; ``ppinfra --help`` explains them.
    """
    try:
        try:
            import cyclopts  # noqa: F401, PLC0415  # only to see whether the extra is installed
            import rich  # noqa: F401, PLC0415  # see above
        except ModuleNotFoundError:
            sys.stderr.write(
                "ppinfra: the command line needs two more packages: "
                "pip install 'ppinfra-async[cli]'\n"
            )
            return _USAGE
        from ppinfra_async._cli._app import run  # noqa: PLC0415  # needs both

        return run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:
        # Before or after the work itself, which looks after its own interruption.
        return _INTERRUPTED
