"""Names of output files."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async._sansio.names import numbered, safe_stem, stems_of

ANY_TEXT = st.text(st.characters(), max_size=300)


@given(ANY_TEXT)
def test_a_stem_never_leaves_its_folder(text: str) -> None:
    """Whatever the text, the file lies directly in its folder and its name can be written."""
    name = f"{safe_stem(text)}-8-99.jpg"
    folder = Path("/pictures")
    assert (folder / name).parent == folder
    assert not set(name) & set('/\\:*?"<>|\0')
    assert name.isprintable()
    assert len(name.encode()) <= 255
    assert not name.startswith((".", "-", " "))


@given(ANY_TEXT)
def test_a_stem_is_stable(text: str) -> None:
    """A safe stem is its own safe stem."""
    assert safe_stem(safe_stem(text)) == safe_stem(text)


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("cat", "cat"),
        ("Katze auf Höhe 3", "Katze auf Höhe 3"),
        ("小猫", "小猫"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("a\nb\x1b[31m", "a_b_[31m"),
        ("C:\\cat", "C__cat"),
        ("\udcff", "_"),
        ("...", "image"),
        ("", "image"),
        ("ﬁle" * 200, "ﬁle" * 32),
    ],
)
def test_a_stem_keeps_what_every_system_takes(text: str, stem: str) -> None:
    """Letters of any script stay; separators, control characters and hiding places go."""
    assert safe_stem(text) == stem


def test_a_stem_is_composed() -> None:
    """The same name is the same stem on systems that decompose letters and on those that do not."""
    assert safe_stem("Ho\u0308he") == "Höhe"


def test_two_sources_of_the_same_name_do_not_collide() -> None:
    """Each source has its own stem, also where case does not count."""
    sources = ["a/cat.png", "b/cat.png", "c/Cat.jpg", "cat-2.png"]
    assert stems_of(sources) == ["cat", "cat-2", "Cat-3", "cat-2-2"]


@given(
    st.lists(
        st.sampled_from(
            ["cat.png", "CAT.png", "cat-2.png", "cat-2-2.png", "CAT-2.png", ".png", "-.x"]
        )
    )
)
def test_stems_are_all_different(sources: list[str]) -> None:
    """However the sources are called, no two jobs share a stem."""
    stems = [stem.casefold() for stem in stems_of(sources)]
    assert len(set(stems)) == len(sources)


def test_thousands_of_the_same_name_are_named_in_one_go() -> None:
    """Naming does not begin to count at 2 again for each of them."""
    stems = stems_of([f"{number}/image.png" for number in range(20_000)])
    assert stems[-1] == "image-20000"


def test_further_names_are_numbered_before_the_suffix() -> None:
    """A name that is taken is followed by -2, -3 and so on."""
    assert list(islice(numbered("cat-1", ".png"), 3)) == ["cat-1.png", "cat-1-2.png", "cat-1-3.png"]
