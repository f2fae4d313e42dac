"""Output sizes and scaled-down sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async._sansio.sizes import Size, default_output_size, fitted_size

sides = st.integers(1, 5000) | st.sampled_from([1, 127, 128, 129, 2047, 2048, 2049, 10**6])
sources = st.tuples(sides, sides)
typed = st.integers(128, 2048)


@given(sources)
def test_a_derived_size_is_allowed(source: Size) -> None:
    """Both sides in 128…2048 and multiples of 8, for any source."""
    for side in default_output_size(source, None, None):
        assert 128 <= side <= 2048
        assert side % 8 == 0


@given(sources, typed)
def test_a_typed_side_is_untouched(source: Size, side: int) -> None:
    """The other one follows the source and is allowed."""
    width, derived_height = default_output_size(source, side, None)
    derived_width, height = default_output_size(source, None, side)

    assert (width, height) == (side, side)
    for derived in (derived_width, derived_height):
        assert 128 <= derived <= 2048
        assert derived % 8 == 0


@given(sources, typed, typed)
def test_a_typed_size_is_untouched(source: Size, width: int, height: int) -> None:
    """Even when it distorts."""
    assert default_output_size(source, width, height) == (width, height)


@given(st.tuples(st.integers(128, 2048), st.integers(128, 2048)))
def test_a_source_in_range_is_only_rounded(source: Size) -> None:
    """Neither side moves by more than half a step."""
    for side, derived in zip(source, default_output_size(source, None, None), strict=True):
        assert abs(side - derived) <= 4


@given(st.integers(1, 16), st.integers(1, 16), st.integers(1, 500))
def test_proportions_are_kept_where_they_can_be(across: int, down: int, scale: int) -> None:
    """Up to 16 : 1, which just fits the range, the sides differ from the proportion by rounding."""
    width, height = default_output_size((across * scale, down * scale), None, None)

    assert abs(width * down - height * across) <= 4 * (across + down)


@pytest.mark.parametrize(
    ("source", "width", "height", "size"),
    [
        ((512, 512), None, None, (512, 512)),
        ((1023, 767), None, None, (1024, 768)),
        ((4096, 3072), None, None, (2048, 1536)),
        ((3000, 4000), None, None, (1536, 2048)),
        ((64, 48), None, None, (168, 128)),
        ((1, 1), None, None, (128, 128)),
        ((10_000, 10), None, None, (2048, 128)),
        ((10, 10_000), None, None, (128, 2048)),
        ((100, 1700), None, None, (128, 2048)),
        ((1000, 500), 512, None, (512, 256)),
        ((1000, 500), None, 512, (1024, 512)),
        ((1000, 500), 553, None, (553, 280)),
        ((1000, 10), 1024, None, (1024, 128)),
        ((1000, 10), None, 1024, (2048, 1024)),
        ((1000, 500), 130, 2001, (130, 2001)),
    ],
)
def test_output_sizes(source: Size, width: int | None, height: int | None, size: Size) -> None:
    """The upright source, scaled into the range and rounded."""
    assert default_output_size(source, width, height) == size


@given(sources, st.integers(1, 2048))
def test_a_fitted_picture_fits(source: Size, fit: int) -> None:
    """Its longest side is *fit* when it was longer, and no side is ever enlarged or gone."""
    fitted = fitted_size(source, fit)

    assert max(fitted) == min(max(source), fit)
    assert all(1 <= after <= before for before, after in zip(source, fitted, strict=True))


@pytest.mark.parametrize(
    ("source", "fit", "size"),
    [
        ((4000, 3000), None, (4000, 3000)),
        ((4000, 3000), 2048, (2048, 1536)),
        ((3000, 4000), 2048, (1536, 2048)),
        ((2048, 100), 2048, (2048, 100)),
        ((100, 50), 2048, (100, 50)),
        ((10_000, 3), 1000, (1000, 1)),
    ],
)
def test_fitted_sizes(source: Size, fit: int | None, size: Size) -> None:
    """Scaled down when larger, else left alone."""
    assert fitted_size(source, fit) == size
