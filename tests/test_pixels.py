"""Pictures in worker threads: headers, pixels, other formats. Everything here is a plain function."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ppinfra_async import ImageType, _pixels
from ppinfra_async._pixels import NotAPictureError
from ppinfra_async.testing import bomb_png
from tests.pictures import draw_picture

KINDS = ["PNG", "JPEG", "WEBP"]
# How a picture is stored whose EXIF orientation is this number, made from the upright one.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def as_file(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def with_orientation(value: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return as_file(Image.new("RGB", (40, 30)), "JPEG", exif=exif)


def same_pixels(one: Image.Image, other: Image.Image) -> bool:
    return one.mode == other.mode and one.size == other.size and one.tobytes() == other.tobytes()


# --- headers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_header_says_format_and_size(kind: str, tmp_path: Path) -> None:
    """The bytes decide what a picture is, from memory and from a file named otherwise."""
    data = draw_picture(200, 160, kind)
    path = tmp_path / "cat.txt"
    path.write_bytes(data)

    for source in (data, path):
        header = _pixels.read_header(source)
        assert header.format is ImageType(kind.lower())
        assert (header.size, header.upright_size) == ((200, 160), (200, 160))
        assert header.is_upright


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF"])
def test_header_of_another_format(kind: str) -> None:
    """A picture that the service does not write itself has a size, a name and no `ImageType`."""
    header = _pixels.read_header(draw_picture(200, 160, kind))

    assert (header.format, header.format_name, header.size) == (None, kind, (200, 160))


def test_header_is_read_without_decoding() -> None:
    """A picture whose pixels are damaged still has a header."""
    data = bytearray(draw_picture(200, 160, "PNG"))
    middle = data.index(b"IDAT") + 30
    data[middle : middle + 40] = bytes(40)

    assert _pixels.read_header(bytes(data)).size == (200, 160)
    with pytest.raises(NotAPictureError, match=r"^is a damaged png$"):
        _pixels.decode(bytes(data))


def test_exif_behind_the_pixels_is_not_looked_for() -> None:
    """Finding it there would mean to decode every PNG that has none."""
    data = draw_picture(40, 30, "PNG", orientation=6)
    begin = data.index(b"eXIf") - 4
    end = begin + 12 + int.from_bytes(data[begin : begin + 4], "big")
    last = data.index(b"IEND") - 4
    moved = data[:begin] + data[end:last] + data[begin:end] + data[last:]
    assert opened(moved).getexif()[0x0112] == 6

    assert _pixels.read_header(moved).is_upright
    assert not _pixels.read_header(data).is_upright


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_size_is_kept_by_mirrors_and_half_turns(orientation: int) -> None:
    """Orientations 1 to 4 are as wide as they are stored."""
    header = _pixels.read_header(draw_picture(40, 30, "JPEG", orientation=orientation))

    assert (header.size, header.upright_size) == ((40, 30), (40, 30))
    assert header.is_upright == (orientation == 1)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_size_is_turned_by_quarter_turns(kind: str, orientation: int) -> None:
    """Orientations 5 to 8 are seen as high as they are stored wide, in every format."""
    header = _pixels.read_header(draw_picture(40, 30, kind, orientation=orientation))

    assert (header.size, header.upright_size) == ((40, 30), (30, 40))
    assert not header.is_upright


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientation_that_means_nothing_is_upright(value: int) -> None:
    """Cameras write 0 for "not known"; such a picture is left alone."""
    assert _pixels.read_header(with_orientation(value)).is_upright


def test_orientation_in_xmp_counts() -> None:
    """Some programs write it there only."""
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = as_file(Image.new("RGB", (40, 30)), "JPEG", xmp=xmp)

    assert _pixels.read_header(data).upright_size == (30, 40)
    assert opened(_pixels.reencode(data, (30, 40))).size == (30, 40)


def test_damaged_exif_says_nothing() -> None:
    """A picture is not refused for what stands beside its pixels."""
    text = PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n       4\nthis is no hexadecimal\n")
    picture = Image.new("RGB", (40, 30))

    for data in (
        as_file(picture, "PNG", pnginfo=text),
        as_file(picture, "JPEG", exif=b"Exif\0\0this is no TIFF header"),
    ):
        header = _pixels.read_header(data)
        assert (header.size, header.is_upright) == ((40, 30), True)
        assert opened(_pixels.reencode(data, (20, 15))).size == (20, 15)


# --- what is no whole picture -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello, I am a text file", "is text"),
        (b"<!DOCTYPE html><html><body>no</body></html>", "is an HTML page"),
        (b'{"error": "expired"}', "is JSON"),
        (b"PK\x03\x04\x14\x00\x00\x00\x08\x00", "is something that is not PNG, JPEG or WebP"),
        (b"\x89PNG\r\n\x1a\n", "is a damaged png"),
        (b"\xff\xd8\xff\xe0", "is a damaged jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBP", "is a damaged webp"),
        (b"GIF89a", "is text"),
    ],
)
def test_no_picture_is_told_what_it_is(data: bytes, message: str, tmp_path: Path) -> None:
    """What is no picture is described in one clause, from memory and from a file."""
    path = tmp_path / "cat.png"
    path.write_bytes(data)

    for source in (data, path):
        with pytest.raises(NotAPictureError) as caught:
            _pixels.read_header(source)
        assert str(caught.value) == message


@pytest.mark.parametrize("kind", KINDS)
@given(share=st.floats(0.01, 0.99))
def test_picture_cut_short_is_noticed_undecoded(kind: str, share: float) -> None:
    """Wherever a file ends too early, its header is not taken for a picture."""
    data = draw_picture(64, 48, kind)

    with pytest.raises(NotAPictureError, match=r"cut short|damaged|is something|is text"):
        _pixels.read_header(data[: int(len(data) * share)])


def test_end_of_a_preview_is_not_the_end_of_the_picture() -> None:
    """Cameras put a small JPEG with an end of its own before the pixels."""
    preview = b"Exif\0\0" + draw_picture(16, 12, "JPEG")
    data = as_file(Image.effect_noise((64, 48), 60), "JPEG", exif=preview)

    assert _pixels.read_header(data).size == (64, 48)
    with pytest.raises(NotAPictureError, match=r"^is cut short$"):
        _pixels.read_header(data[:-40])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("more", [1, 65_520, *range(65_528, 65_542), 200_000])
def test_bytes_after_the_end_are_tolerated(kind: str, more: int) -> None:
    """Phones append a film or a depth map, of any length."""
    header = _pixels.read_header(draw_picture(64, 48, kind) + bytes(more))

    assert header.size == (64, 48)


def test_long_picture_without_an_end_is_searched_to_its_header() -> None:
    """The search goes through the whole file and stops where the pixels begin."""
    data = as_file(Image.effect_noise((600, 400), 90).convert("RGB"), "PNG", compress_level=0)
    assert len(data) > 3 * 64 * 1024

    with pytest.raises(NotAPictureError, match=r"^is cut short$"):
        _pixels.read_header(data[:-8])


def test_bomb_is_refused_by_its_header() -> None:
    """A tiny file that promises 900 million pixels is never unpacked."""
    for work in (_pixels.read_header, _pixels.decode):
        with pytest.raises(NotAPictureError) as caught:
            work(bomb_png(30_000))
        assert str(caught.value) == "has 30000 × 30000 pixels, more than 100,000,000 altogether"


def test_lack_of_memory_is_told_as_such() -> None:
    """A picture that does not fit here is an error about this picture, not a crash."""
    with (
        pytest.raises(NotAPictureError, match="takes more memory than there is"),
        _pixels._opened(draw_picture(8, 8, "PNG")),
    ):
        raise MemoryError


def test_file_that_cannot_be_opened_is_the_systems_error(tmp_path: Path) -> None:
    """What the system says about a file is kept apart from what its bytes say."""
    with pytest.raises(FileNotFoundError):
        _pixels.read_header(tmp_path / "missing.png")


# --- decoding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_decoding_keeps_mode_and_pixels(mode: str) -> None:
    """Nothing is converted, alpha included, and the pixels are loaded."""
    picture = opened(draw_picture(64, 48, "PNG")).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = picture.convert("I").point(lambda level: level * 257).convert("I;16")
    if mode in {"RGBA", "LA"}:
        picture.putalpha(Image.linear_gradient("L").resize((64, 48)))

    decoded = _pixels.decode(as_file(picture))

    assert same_pixels(decoded, picture)
    # Not one of the classes that read from a file, which would be kept open.
    assert type(decoded) is Image.Image
    assert same_pixels(pickle.loads(pickle.dumps(decoded)), picture)  # noqa: S301  # our own


# --- sending otherwise ------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_reencoded_picture_is_upright(orientation: int) -> None:
    """Each EXIF orientation is applied to the pixels exactly, and not stated any more."""
    upright = opened(draw_picture(40, 30, "PNG"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = as_file(upright.transpose(STORED[orientation]), exif=exif)

    sent = _pixels.reencode(stored, (40, 30))

    assert same_pixels(opened(sent), upright)
    assert _pixels.read_header(sent).is_upright


@pytest.mark.parametrize(
    ("kind", "sent_as"),
    [("PNG", "PNG"), ("JPEG", "JPEG"), ("WEBP", "PNG"), ("GIF", "PNG"), ("BMP", "PNG")],
)
def test_scaling_keeps_jpeg_and_makes_png_of_the_rest(kind: str, sent_as: str) -> None:
    """A photograph stays small, everything else stays lossless."""
    sent = opened(_pixels.reencode(draw_picture(400, 300, kind), (200, 150)))

    assert (sent.format, sent.size) == (sent_as, (200, 150))


def test_scaling_reads_a_file(tmp_path: Path) -> None:
    """A path is as good as bytes."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(draw_picture(400, 300, "JPEG"))

    assert opened(_pixels.reencode(path, (40, 30))).size == (40, 30)


def test_scaling_keeps_transparency_of_a_palette() -> None:
    """A palette with a transparent colour becomes RGBA, not black."""
    picture = Image.new("P", (40, 30), 0)
    data = as_file(picture, transparency=0)

    sent = opened(_pixels.reencode(data, (20, 15)))

    assert sent.mode == "RGBA"
    assert sent.getchannel("A").getextrema() == (0, 0)


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_scaling_16_bit_grey_keeps_its_range(mode: str) -> None:
    """A depth map of 16 bits is scaled to 8 bits; cut off at 255 it would be white."""
    picture = Image.new("I", (40, 30), 40_000).convert(mode)

    sent = opened(_pixels.reencode(as_file(picture, "TIFF"), (20, 15)))

    assert (sent.mode, sent.getpixel((5, 5))) == ("L", 156)


def test_profile_is_kept_for_the_same_colours() -> None:
    """A colour profile stays with a scaled picture."""
    data = as_file(Image.new("RGB", (40, 30)), "JPEG", icc_profile=b"a profile")

    assert opened(_pixels.reencode(data, (20, 15))).info["icc_profile"] == b"a profile"


def test_profile_is_kept_on_white() -> None:
    """Laying a picture on white does not change what its colours mean."""
    data = as_file(Image.new("RGBA", (40, 30)), icc_profile=b"a profile")

    assert opened(_pixels.converted(data, ".jpg")).info["icc_profile"] == b"a profile"


def test_profile_for_ink_is_left_out() -> None:
    """It would spoil the same picture in RGB."""
    data = as_file(Image.new("CMYK", (40, 30)), "JPEG", icc_profile=b"a profile")

    sent = opened(_pixels.reencode(data, (20, 15)))

    assert (sent.mode, "icc_profile" in sent.info) == ("RGB", False)


def test_grey_profile_does_not_go_with_colours() -> None:
    """WebP knows no grey, so a grey picture loses its grey profile there."""
    picture = Image.new("L", (40, 30))
    picture.info["icc_profile"] = b"a grey profile"

    assert "icc_profile" not in opened(_pixels.encode(picture, ImageType.WEBP)).info
    assert opened(_pixels.encode(picture, ImageType.PNG)).info["icc_profile"] == b"a grey profile"


# --- a caller's Pillow image ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "sent_as"),
    [
        ("RGB", "RGB"),
        ("RGBA", "RGBA"),
        ("L", "L"),
        ("LA", "LA"),
        ("P", "P"),
        ("1", "1"),
        ("I;16", "I;16"),
        ("I;16B", "L"),
        ("I", "L"),
        ("PA", "RGBA"),
        ("RGBa", "RGBA"),
        ("CMYK", "RGB"),
        ("HSV", "RGB"),
        ("LAB", "RGB"),
        ("YCbCr", "RGB"),
        ("F", "RGB"),
    ],
)
def test_pillow_image_of_any_mode_becomes_png(mode: str, sent_as: str) -> None:
    """What PNG can hold is kept as it is, the rest becomes RGB, with alpha where there was some."""
    sent = opened(_pixels.encode_as_png(Image.new(mode, (40, 30))))

    assert (sent.format, sent.mode, sent.size) == ("PNG", sent_as, (40, 30))


def test_pillow_image_that_pillow_cannot_convert_is_told() -> None:
    """A mode that leads nowhere is an error of ours, with Pillow's own words."""
    with pytest.raises(NotAPictureError, match=r"^cannot be encoded \(.*La.*\)$"):
        _pixels.encode_as_png(Image.new("La", (40, 30)))


def test_closed_pillow_image_is_told() -> None:
    """An image whose file was closed before its pixels were read has none."""
    picture = opened(draw_picture(40, 30, "PNG"))
    picture.close()

    with pytest.raises(NotAPictureError, match=r"^cannot be encoded \(.+\)$"):
        _pixels.encode_as_png(picture)


def test_pillow_image_right_from_a_file_is_sent_upright() -> None:
    """`Image.open(photo)` is meant as the photograph is seen."""
    upright = opened(draw_picture(40, 30, "PNG"))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = as_file(upright.transpose(STORED[6]), exif=exif)

    assert same_pixels(opened(_pixels.encode_as_png(opened(stored))), upright)


def test_pillow_image_made_by_the_caller_is_sent_as_it_is() -> None:
    """Pixels that a caller turned already are not turned again, whatever their EXIF still says."""
    turned = opened(draw_picture(40, 30, "JPEG", orientation=6)).rotate(-90, expand=True)
    assert turned.getexif()[0x0112] == 6

    assert same_pixels(opened(_pixels.encode_as_png(turned)), turned)


# --- other formats ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "format_name"),
    [
        (".jpg", "JPEG"),
        (".JPEG", "JPEG"),
        (".png", "PNG"),
        (".webp", "WEBP"),
        (".bmp", "BMP"),
        (".gif", "GIF"),
        (".tiff", "TIFF"),
        (".eps", "EPS"),
    ],
)
def test_converting_makes_what_the_suffix_says(suffix: str, format_name: str) -> None:
    """A picture with transparency can be had in every format, also in those without any."""
    picture = opened(draw_picture(40, 30, "PNG")).convert("RGBA")
    picture.putalpha(128)

    converted = opened(_pixels.converted(as_file(picture), suffix))

    assert (converted.format, converted.size) == (format_name, (40, 30))


@pytest.mark.parametrize("suffix", [".jpg", ".eps"])
def test_transparency_is_laid_on_white(suffix: str) -> None:
    """Where a format has no transparency, what was transparent is white."""
    data = as_file(Image.new("RGBA", (40, 30), (255, 0, 0, 0)))

    converted = _pixels.converted(data, suffix)

    if suffix == ".jpg":
        assert opened(converted).getpixel((5, 5)) == (255, 255, 255)
    else:
        assert b"ffffff" in converted.lower()
        assert b"ff0000" not in converted.lower()


def test_converting_to_webp_is_lossless() -> None:
    """A picture that is converted once must not lose by it."""
    picture = opened(draw_picture(40, 30, "PNG"))

    assert same_pixels(opened(_pixels.converted(as_file(picture), ".webp")), picture)


def test_suffixes_are_those_of_formats_that_can_be_written() -> None:
    """A suffix that Pillow knows but cannot write a picture for is none of a picture."""
    suffixes = _pixels.writable_suffixes()

    assert suffixes >= {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    assert not suffixes & {".h5", ".grib", ".wmf", ".blp", ".txt", ""}
