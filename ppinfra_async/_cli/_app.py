"""The commands' names, options and help; refuses to do their work, which is in a module each."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.exceptions import (
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnusedCliTokensError,
)

from ppinfra_async._cli._batch_options import Known, Pace
from ppinfra_async._cli._behaviour import Behaviour
from ppinfra_async._cli._messages import (
    EXIT_CODES,
    CommandError,
    ExitCode,
    exit_code,
    one_line,
    sentence,
)
from ppinfra_async._cli._options import (
    OUTPUT,
    SERVICE,
    Ask,
    FolderAsk,
    Printing,
    Service,
    TaskService,
    is_debugging,
)
from ppinfra_async._cli._screen import forget, prepare_streams

_HELP = f"""\
Ask PPInfra's asynchronous image API for pictures; never pay twice, never lose a paid task.

Start with `ppinfra demo`: it needs no key, no network and no money.

The key is read from the environment variable PPINFRA_API_KEY (or PPIO_API_KEY) and nowhere else: an
option would leave it in the shell's history and in the list of processes.

Results go to standard output, everything else to standard error.

Exit codes:

{EXIT_CODES}
"""


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415  # takes longer than most commands' help

    return f"ppinfra-async {version('ppinfra-async')}"


app = App(
    name="ppinfra", help=_HELP, help_format="markdown", version_format="plaintext", version=_version
)

_PRINTING, _BEHAVIOUR = Printing(), Behaviour()
_SERVICE, _TASK_SERVICE = Service(), TaskService()
_FOLDER_ASK, _KNOWN, _PACE = FolderAsk(), Known(), Pace()

Out = Annotated[Path, Parameter(alias="-o", group=OUTPUT)]


@app.command(usage="Usage: ppinfra demo [IMAGE] [OPTIONS]")
def demo(
    image: Annotated[Path | None, Parameter(name="IMAGE")] = None,
    /,
    *,
    out: Out = Path("ppinfra-demo"),
    open: Annotated[  # noqa: A002  # the option's name
        bool, Parameter(negative="", show_default=False, group=OUTPUT)
    ] = False,
    printing: Printing = _PRINTING,
) -> int:
    """See four variations of a picture, made by a simulator in this process.

    Needs no key and no network, and pays nothing: no model is at work, only Pillow. Writes the
    pictures and a page that shows before and after, and prints where the page is.

    Args:
        image: Your picture; if not given, one is drawn.
        out: A folder for page and pictures. One that is there is left alone: DIR-2, DIR-3, …
        open: Show the page in the browser.
        printing: What is shown.
    """
    from ppinfra_async._cli._demo import demo as command  # noqa: PLC0415  # each command on its own

    return command(image, printing, out=out, open_page=open)


@app.command(usage="Usage: ppinfra img2img IMAGE... --model NAME --prompt TEXT --out DIR [OPTIONS]")
def img2img(
    *images: Annotated[Path, Parameter(name="IMAGE", negative="")],
    ask: Ask,
    out: Out,
    images_per_minute: Annotated[str, Parameter(group=SERVICE)] = "auto",
    service: TaskService = _TASK_SERVICE,
    printing: Printing = _PRINTING,
) -> int:
    """Make pictures from pictures and a prompt. This costs money.

    All files are looked at before anything is sent; when one is bad, nothing is paid. The pictures
    are called cat-1.png and so on after their IMAGE, and no file is ever replaced. One path per picture
    goes to standard output as soon as it is there, or with --json one line per IMAGE.

    With --json, a line has source, task_id, seed, images (paths), missing (how many fewer were made)
    and error: null, or type, message, billed (no, yes or unknown) and task_id.

    The key is read from PPINFRA_API_KEY (or PPIO_API_KEY). There is no option for it on purpose.

    Args:
        images: Picture files; each side at most 2048 pixels, unless --fit is given.
        out: The folder for the pictures; made if it is not there.
        images_per_minute: Your quota, or auto to find it out from the service's answers.
        ask: What every picture is asked for.
        service: Which service.
        printing: What is shown.
    """
    from ppinfra_async._cli._img2img import img2img as command  # noqa: PLC0415  # see demo

    return command(
        images, ask, service, printing, out=out, images_per_minute=images_per_minute
    )  # fmt: skip


@app.command(
    usage="Usage: ppinfra batch MANIFEST --out DIR [OPTIONS]\n"
    "       ppinfra batch --images PATTERN --model NAME --prompt TEXT --out DIR [OPTIONS]"
)
def batch(
    manifest: Annotated[Path | None, Parameter(name="MANIFEST")] = None,
    /,
    *,
    out: Out,
    images: str | None = None,
    allow_dir: Annotated[tuple[Path, ...], Parameter(negative="", show_default=False)] = (),
    check: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    ask: FolderAsk = _FOLDER_ASK,
    known: Known = _KNOWN,
    pace: Pace = _PACE,
    service: TaskService = _TASK_SERVICE,
    printing: Printing = _PRINTING,
) -> int:
    """Run thousands of jobs into a folder, and go on where it stopped. This costs money.

    MANIFEST has a JSON object per line: the fields of a request under their names (model_name, image,
    prompt, …), an optional key (your name for the job), and type (img2img if not given). Paths are
    relative to the manifest and must stay in its folder. Every line and picture is looked at before
    anything is sent; when one is bad, each is named and nothing is paid.

    DIR gets the pictures (cat-1.png and so on), results.jsonl, a gallery in index.html, and
    journal.sqlite3, which knows what was paid. Run the same command again after whatever ended it: done
    jobs are skipped, paid ones fetched, no job is paid twice. Lines may be added, removed and moved;
    a job is known by its key, else by what it asks.

    Ctrl-C sends nothing more and waits a while for what is paid; a second one leaves at once.

    One path per picture goes to standard output, or with --json one line per job. Exit codes are
    listed by `ppinfra --help`.

    Args:
        manifest: A file of JSON lines.
        out: The folder for everything; made if it is not there.
        images: Pictures instead of a manifest, as a pattern in quotes: `'in/*.png'` or `'in/**/*.jpg'`.
        allow_dir: A further folder that pictures of the manifest may be in; may be repeated.
        check: Only look at everything and estimate the time; needs no key, sends and writes nothing.
        ask: What every picture is asked for, with --images.
        known: What becomes of jobs that an earlier run knew.
        pace: How fast, and how far.
        service: Which service.
        printing: What is shown.
    """
    from ppinfra_async._cli._batch import batch as command  # noqa: PLC0415  # see demo

    return command(
        manifest, ask, known, pace, service, printing,
        out=out, images=images, allow_dir=allow_dir, check=check,
    )  # fmt: skip


@app.command(usage="Usage: ppinfra models [OPTIONS]")
def models(
    *,
    type: Literal[  # noqa: A002  # the service's word
        "checkpoint", "lora", "vae", "controlnet", "upscaler", "textualinversion"
    ]
    | None = None,
    query: Annotated[str | None, Parameter(alias="-q", allow_leading_hyphen=True)] = None,
    limit: int = 50,
    service: Service = _SERVICE,
    printing: Printing = _PRINTING,
) -> int:
    """List the models of the service: what to write after --model, --lora and so on.

    In a pipe: model_name, type, base model and name, between tabs. With --json one document a line.

    Args:
        type: Only this kind, such as checkpoint.
        query: Only models with all these words.
        limit: At most so many.
        service: Which service.
        printing: What is shown.
    """
    from ppinfra_async._cli._models import models as command  # noqa: PLC0415  # see demo

    return command(service, printing, kind=type, query=query, limit=limit)


@app.command(usage="Usage: ppinfra task ID... [--out DIR] [OPTIONS]")
def task(
    *task_ids: Annotated[str, Parameter(name="ID", negative="")],
    out: Out = Path(),
    no_wait: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    service: TaskService = _TASK_SERVICE,
    printing: Printing = _PRINTING,
) -> int:
    """Wait for tasks that are paid already, and save their pictures. Pays nothing.

    Args:
        task_ids: The service's ids.
        out: The folder for the pictures, called ID-1.png and so on.
        no_wait: Only say how the tasks stand now.
        service: Which service.
        printing: What is shown.
    """
    from ppinfra_async._cli._task import task as command  # noqa: PLC0415  # see demo

    return command(task_ids, service, printing, out=out, wait=not no_wait)


@app.command(usage="Usage: ppinfra simulate [OPTIONS]")
def simulate(*, behaviour: Behaviour = _BEHAVIOUR, printing: Printing = _PRINTING) -> int:
    """Run a look-alike of the service on this machine until Ctrl-C.

    Prints its address first, then, on standard error, its key and a command to try it with.
    """
    from ppinfra_async._cli._simulate import simulate as command  # noqa: PLC0415  # see demo

    return command(behaviour, printing)


def run(arguments: Sequence[str]) -> int:
    """Parse *arguments*, run the command, return the exit code; one sentence for whatever is wrong."""
    prepare_streams()
    debug = "--debug" in arguments or is_debugging()
    if not sys.stdout or not sys.stdout.isatty():
        app.help_formatter = "plain"
    try:
        command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        code: int = command(*bound.args, **bound.kwargs) or ExitCode.DONE
        if sys.stdout is not None:
            # Now and not at the interpreter's end, where a full disk would be a traceback.
            sys.stdout.flush()
        return code
    except CycloptsError as error:
        return _end(_parse_error(error), debug=False)
    except (BrokenPipeError, SystemExit):
        # The reader of the help has left; rich calls that an exit.
        return ExitCode.DONE
    except Exception as error:  # no traceback ever, unless asked for
        return _end(error, debug=debug)


def _end(error: Exception, *, debug: bool) -> ExitCode:
    if isinstance(error, OSError) and sys.stdout is not None:
        # It may be stdout itself that takes no more.
        forget(sys.stdout)
    if sys.stderr is not None:
        if debug:
            traceback.print_exception(error)
        sys.stderr.write(f"ppinfra: {one_line(sentence(error))}\n")
    return exit_code(error)


def _parse_error(error: CycloptsError) -> CommandError:
    """Say what is wrong with the command line in one sentence."""
    name = " ".join(error.command_chain or ())
    match error:
        case MissingArgumentError() if error.argument is not None:
            what = (
                f"{error.keyword} needs a value."
                if error.keyword
                else f"{error.argument.name} is missing."
            )
        case UnusedCliTokensError():
            what = f"Unexpected: {' '.join(error.unused_tokens or ())}."
        case RepeatArgumentError():
            what = f"{error.token.keyword} is given more than once."
        case _:
            what = str(error)
    return CommandError(f"{what} See `{' '.join(filter(None, ('ppinfra', name)))} --help`.")
