"""What the READMEs show is run as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ppinfra_async import Client, Img2Img
from ppinfra_async.testing import SimulatorThread
from tests.pictures import draw_picture

ROOT = Path(__file__).parent.parent
READMES = ["README.md", "README.zh-CN.md"]


def blocks(readme: str, language: str) -> list[str]:
    """Return the code blocks of *readme* in *language*."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def without_comments(code: str) -> str:
    return re.sub(r"\s+#.*", "", code)


def test_example_runs(tmp_path: Path, ppinfra_simulator: SimulatorThread) -> None:
    """The first example, copied into a file, saves two pictures."""
    (tmp_path / "cat.png").write_bytes(draw_picture(200, 160, "PNG"))
    (tmp_path / "example.py").write_text(blocks("README.md", "python")[0], encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-W", "error", "example.py"],
        cwd=tmp_path,
        env={
            "PPINFRA_API_KEY": ppinfra_simulator.api_key,
            "PPINFRA_BASE_URL": ppinfra_simulator.url,
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout.splitlines() == ["cat-oil-0.png (200, 160)", "cat-oil-1.png (200, 160)"]


async def test_second_example_runs(
    client: Client, picture_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every line of the step-by-step example works, in one go."""
    del capsys
    request = Img2Img(
        model_name="dreamshaper_8_93211.safetensors", image=picture_file, prompt="an oil painting"
    )
    scope: dict[str, object] = {"client": client, "request": request, "requests": [request] * 3}
    body = textwrap.indent(blocks("README.md", "python")[1], "    ")
    exec(f"async def example(client, request, requests):\n{body}    return outcomes", scope)  # noqa: S102  # the README is ours

    outcomes = await scope["example"](client, request, scope["requests"])  # type: ignore[operator]  # defined by exec

    assert [outcome.error for outcome in outcomes] == [None, None, None]


def test_the_test_that_is_shown_runs(tmp_path: Path) -> None:
    """In a folder of its own, with the package installed and nothing set up."""
    (tmp_path / "test_example.py").write_text(blocks("README.md", "python")[2], encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_both_languages_show_the_same_code() -> None:
    """A change to one README is made to the other."""
    for language in ("python", "sh"):
        english, chinese = (
            [without_comments(block) for block in blocks(readme, language)] for readme in READMES
        )

        assert english == chinese


@pytest.mark.parametrize("readme", READMES)
def test_readme_is_short_and_its_links_lead_somewhere(readme: str) -> None:
    """A reader gets to the end, and every link to a file finds it."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]

    assert len(text.splitlines()) <= 160
    assert [link for link in links if not (ROOT / link).exists()] == []
