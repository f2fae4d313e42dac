"""Resumable batches of jobs from a manifest; refuses to pay for a job twice.

``run_batch`` runs a file of JSON lines into a folder, with a journal that makes the same call go on
where it stopped, after a crash too. For a stream of requests without a journal there is
``Client.map``.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread

from ppinfra_async._client import Client
from ppinfra_async.batch._batch import Batch, BatchStoppedError
from ppinfra_async.batch._known import Choices
from ppinfra_async.batch._manifest import Manifest
from ppinfra_async.batch._output import OutputError
from ppinfra_async.batch._plan import BadLine, ManifestError, Plan, StoppedError
from ppinfra_async.batch._progress import Listeners, Progress
from ppinfra_async.batch._results import BatchSummary
from ppinfra_async.journal import JournalError

__all__ = [
    "BadLine",
    "Batch",
    "BatchStoppedError",
    "BatchSummary",
    "Choices",
    "JournalError",
    "Listeners",
    "Manifest",
    "ManifestError",
    "OutputError",
    "Plan",
    "Progress",
    "StoppedError",
    "run_batch",
]


async def run_batch(
    client: Client,
    manifest: str | os.PathLike[str] | Collection[Mapping[str, Any]],
    out_dir: str | os.PathLike[str],
    *,
    folder: str | os.PathLike[str] | None = None,
    allow_dirs: Iterable[str | os.PathLike[str]] = (),
    fit: int | None = None,
    max_in_flight: int = 64,
    max_images: int | None = None,
    retry_failed: bool = False,
    resubmit_unknown: bool = False,
    redo_changed: bool = False,
) -> BatchSummary:
    """Run a manifest into *out_dir*; the same call again goes on where it stopped.

    Every line is an object with the fields of a request under our names, ``type`` (default
    ``img2img``) and an optional ``key``; pictures are paths. All lines and pictures are looked at
    before anything is sent. The folder gets the pictures as ``<stem>-<n>.<suffix>``,
    ``results.jsonl``, ``index.html`` and ``journal.sqlite3``; no other file is ever replaced.

    Jobs that are done are skipped, tasks that are known are fetched (with fresh addresses, only the
    pictures that are missing), jobs in doubt are left alone. A job is known again by its key, else by
    its request with the pictures' paths, sizes and times; never by its line.

    Cancelling is safe at any moment: what was not sent is withdrawn, what is paid is in the journal.

    Args:
        client: Who sends; its limits and deadlines hold.
        manifest: A file of JSON lines, read line by line; or such objects.
        out_dir: The folder; made if it is not there.
        folder: What picture paths are relative to, and confined to; the manifest's own folder, or
            the current one for objects.
        allow_dirs: Further folders that pictures may be in.
        fit: Scale pictures with a longer side down to it.
        max_in_flight: Jobs under way at once.
        max_images: Stop before more images than that are submitted, counted over all runs.
        retry_failed: Send failed jobs again; it is paid again if the service takes it.
        resubmit_unknown: Send jobs in doubt again. They may be paid twice.
        redo_changed: Make jobs anew whose key is known and whose request has changed.

    Returns:
        How everything stands now.

    Raises:
        ManifestError: bad lines, each with its number; nothing was sent.
        JournalError: the journal is in use, damaged or of another version; nothing was sent.
        OutputError: the folder cannot be written; nothing was sent.
        BatchStoppedError: something stopped all of it, such as an empty balance or a full disk; its
            cause says what, its summary how things stand.
        TypeError, ValueError: an argument makes no sense.
    """
    batch = Batch(
        client=client,
        manifest=await anyio.to_thread.run_sync(_manifest, manifest, folder, allow_dirs, fit),
        folder=Path(out_dir),
        choices=Choices(
            retry_failed=retry_failed, resubmit_unknown=resubmit_unknown, redo_changed=redo_changed
        ),
        max_in_flight=max_in_flight,
        max_images=max_images,
    )
    return await batch.run()


def _manifest(
    manifest: str | os.PathLike[str] | Collection[Mapping[str, Any]],
    folder: str | os.PathLike[str] | None,
    allow_dirs: Iterable[str | os.PathLike[str]],
    fit: int | None,
) -> Manifest:
    if isinstance(manifest, str | os.PathLike):
        path = Path(manifest)
        return Manifest.from_file(
            path, folder=Path(folder) if folder else None, allow_dirs=allow_dirs, fit=fit
        )
    return Manifest.from_objects(manifest, Path(folder or "."), allow_dirs=allow_dirs, fit=fit)
