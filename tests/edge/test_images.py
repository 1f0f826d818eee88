"""Reading images without Pillow: the same pixels as Pillow's, and nothing but a DataError."""

import io
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edge.agent import images
from edge.agent.images import decode, fit, load, read
from edgeloop.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NOISE = np.random.default_rng(6)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    lines: bytes,
    size: tuple[int, int],
    depth: int = 8,
    colour: int = 0,
    interlace: int = 0,
    palette: bytes = b"",
) -> bytes:
    """Make a PNG of lines that are filtered already."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlace)
    parts = [chunk(b"IHDR", header), chunk(b"PLTE", palette) if palette else b""]
    packed = zlib.compress(lines)
    half = len(packed) // 2
    parts += [chunk(b"IDAT", packed[:half]), chunk(b"IDAT", packed[half:]), chunk(b"IEND", b"")]
    return SIGNATURE + b"".join(parts)


def by_pillow(data: bytes, mode: str | None = None) -> NDArray[np.generic]:
    with Image.open(io.BytesIO(data)) as image:
        array = np.asarray(image.convert(mode) if mode else image)
    return np.atleast_3d(array).transpose(2, 0, 1)


def saved(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


BITMAP = saved(Image.new("L", (8, 8)), "BMP")


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)])
def test_png_of_every_colour_type(mode: str, channels: int) -> None:
    slope = np.linspace(0, 255, 31 * 17 * channels).reshape(17, 31, channels)
    pixels = (slope + NOISE.integers(0, 9, slope.shape)).astype(np.uint8)
    data = saved(Image.fromarray(pixels.squeeze(), mode=None).convert(mode))
    image = decode(data, "x")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, by_pillow(data))
    np.testing.assert_array_equal(image, pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("colours", [2, 4, 16, 200])
def test_png_with_a_palette(colours: int) -> None:
    picture = Image.fromarray(NOISE.integers(0, 256, (13, 11, 3), np.uint8))
    data = saved(picture.quantize(colours))
    np.testing.assert_array_equal(decode(data, "x"), by_pillow(data, "RGB"))


def test_png_of_one_bit_by_pillow() -> None:
    data = saved(Image.fromarray(NOISE.integers(0, 2, (9, 13), np.uint8) * 255).convert("1"))
    np.testing.assert_array_equal(decode(data, "x"), by_pillow(data, "L"))


def test_png_of_few_bits_by_hand() -> None:
    assert decode(png(b"\0\xa0", (3, 1), depth=1), "x").tolist() == [[[255, 0, 255]]]
    assert decode(png(b"\0\x1b", (4, 1), depth=2), "x").tolist() == [[[0, 85, 170, 255]]]
    assert decode(png(b"\0\x1f\x20", (3, 1), depth=4), "x").tolist() == [[[17, 255, 34]]]


def test_png_of_sixteen_bits() -> None:
    pixels = NOISE.integers(0, 65536, (5, 7), np.uint16)
    grey = decode(saved(Image.fromarray(pixels)), "x")
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey[0], pixels / 257, rtol=1e-6)
    lines = b"\0" + bytes([255, 255, 0, 0, 1, 1])
    assert decode(png(lines, (1, 1), depth=16, colour=2), "x").tolist() == [[[255]], [[0]], [[1]]]


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
@pytest.mark.parametrize("filters", [(0,), (1,), (2,), (3,), (4,), (4, 0, 3, 1, 2)])
@pytest.mark.parametrize("size", [(9, 7), (1, 12), (12, 1), (5, 20)])
def test_every_filter_as_pillow_reads_it(
    colour: int, filters: Sequence[int], size: tuple[int, int]
) -> None:
    width, height = size
    row = width * {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    lines = [bytes([filters[y % len(filters)]]) + NOISE.bytes(row) for y in range(height)]
    data = png(b"".join(lines), size, colour=colour)
    np.testing.assert_array_equal(decode(data, "x"), by_pillow(data))


def test_filters_by_hand() -> None:
    lines = bytes([0, 10, 20, 30, 1, 1, 1, 1, 2, 5, 5, 5, 3, 1, 1, 1, 4, 1, 2, 3])
    expected = [[10, 20, 30], [1, 2, 3], [6, 7, 8], [4, 6, 8], [5, 8, 11]]
    assert decode(png(lines, (3, 5)), "x").tolist() == [expected]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (png(b"\0\0", (1, 1), interlace=1), "interlaced PNG; save it without interlacing"),
        (png(b"\0\0", (1, 1), depth=3), "a kind that the standard does not have"),
        (png(b"\0\0", (1, 1), colour=5), "a kind that the standard does not have"),
        (png(b"\0\0", (0, 1)), "0 x 1 pixels"),
        (png(b"\5\0", (1, 1)), "a filter that the standard does not have"),
        (png(b"\0", (1, 1)), "fewer pixels than it says"),
        (png(b"\0\0\0", (1, 1)), "more pixels than it says"),
        (png(b"\0\1", (1, 1), colour=3, palette=b"abc"), "its palette does not have"),
        (png(b"\0\0", (1, 1), colour=3), "its palette does not have"),
        (png(b"", (8001, 8000)), "too large, 8001 x 8000 pixels; shrink it to at most 64 mega"),
        (png(b"", (1, 40_000)), "too large"),
        (png(b"\0\0", (1, 1))[:-5], "ends too early"),
        (png(b"\0\0", (1, 1)).replace(b"IDAT", b"IDAS", 1), "wrong checksum"),
        (SIGNATURE + chunk(b"IEND", b""), "without a header"),
        (b"P5 2 2 255\nabc", "fewer pixels than it says"),
        (b"P5 2 2 65535\nabcdefgh", "largest value of 65535; save it with 8 bits"),
        (b"P6 two 2 255\n", "without a header"),
        (b"P5 99999 99999 255\n", "too large"),
        (BITMAP[:25] + b"\1" + BITMAP[26:], "too large, 8 x 16777224 pixels"),
        (b"nothing that anyone knows", "no image that can be read"),
        (b"", "no image that can be read"),
    ],
)
def test_what_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        decode(data, "shoe.png")
    assert str(caught.value).startswith("shoe.png: ")
    assert problem in str(caught.value)


def test_a_bomb_stays_small() -> None:
    data = png(bytes(200_000_000), (100, 100))
    tracemalloc.start()
    with pytest.raises(DataError, match="more pixels than it says"):
        decode(data, "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_pgm_and_ppm() -> None:
    assert decode(b"P5 # grey\n2\n1 255\n\x07\x09", "x").tolist() == [[[7, 9]]]
    assert decode(b"P6 1 2 255 abcdef", "x").tolist() == [
        [[97], [100]],
        [[98], [101]],
        [[99], [102]],
    ]
    for mode in ("L", "RGB"):
        image = Image.fromarray(NOISE.integers(0, 256, (6, 5, 3), np.uint8)).convert(mode)
        data = saved(image, "PPM")
        np.testing.assert_array_equal(decode(data, "x"), by_pillow(data))


def test_a_jpeg_by_pillow() -> None:
    for mode in ("L", "RGB"):
        data = saved(
            Image.fromarray(NOISE.integers(0, 256, (16, 9, 3), np.uint8)).convert(mode), "JPEG"
        )
        np.testing.assert_array_equal(decode(data, "x"), by_pillow(data))


def test_a_jpeg_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.new("L", (4, 4)), "JPEG")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="pip install pillow"):
        decode(data, "x.jpg")


@pytest.mark.parametrize("kind", ["?", "u1", "i2", ">i4", "u8", "f2", "<f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_every_number(tmp_path: Path, kind: str, order: str) -> None:
    array = (np.arange(6).reshape(1, 2, 3) % 2).astype(kind)
    np.save(tmp_path / "x.npy", np.asfortranarray(array) if order == "F" else array)
    found = read(tmp_path / "x.npy")
    assert found.dtype == (np.uint8 if kind == "u1" else np.float32)
    np.testing.assert_array_equal(found, array)


def npy(array: NDArray[np.generic], path: Path) -> Path:
    np.save(path, array)
    return path


def test_npy_fits_or_not(tmp_path: Path) -> None:
    path = npy(np.arange(6.0).reshape(2, 3), tmp_path / "x.npy")
    assert load(path, (1, 2, 3), pixels=False).tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert load(path, (2, 3), pixels=True).dtype == np.float32
    with pytest.raises(DataError, match=r"has shape \(2, 3\), the model takes \(3, 2\)"):
        load(path, (3, 2), pixels=False)
    with pytest.raises(DataError, match="outside 0 to 255"):
        load(npy(np.array([-1.0]), path), (1,), pixels=True)
    with pytest.raises(DataError, match="not finite"):
        load(npy(np.array([1e300]), path), (1,), pixels=False)


def test_npy_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="something else than numbers"):
        read(path)


def test_npy_of_another_length(tmp_path: Path) -> None:
    path = npy(np.zeros(4, np.float32), tmp_path / "x.npy")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="another length"):
        read(path)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(DataError, match="there is no such file"):
            read(path)
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / ("n" * 300))
    (tmp_path / "x.png").write_bytes(bytes(11))
    monkeypatch.setattr(images, "MOST_BYTES", 10)
    with pytest.raises(DataError, match="larger than"):
        read(tmp_path / "x.png")


def test_channels_are_converted() -> None:
    colour = np.array([10, 20, 30, 77], np.uint8).reshape(4, 1, 1)
    assert fit(colour, (3, 1, 1)).ravel().tolist() == [10, 20, 30]
    assert fit(colour[:3], (1, 1, 1)).item() == pytest.approx(18.15)
    assert fit(colour[:2], (3, 1, 1)).ravel().tolist() == [10, 10, 10]
    assert fit(colour[:1], (1, 1, 1)).ravel().tolist() == [10]


def test_shrinking_averages_areas() -> None:
    plane = np.array([[[0, 3, 6], [3, 6, 9], [6, 9, 12]]], np.uint8)
    assert fit(plane, (1, 1, 1)).tolist() == [[[6]]]
    assert fit(plane, (1, 3, 2))[0] == pytest.approx(np.array([[1, 5], [4, 8], [7, 11]]))
    large = NOISE.integers(0, 256, (1, 12, 20), np.uint8)
    blocks = large.reshape(1, 3, 4, 5, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(fit(large, (1, 3, 5)), blocks, rtol=1e-5)


def test_growing_interpolates_as_pillow_does() -> None:
    assert fit(np.array([[[0, 8]]], np.uint8), (1, 1, 4)).tolist() == [[[0, 2, 6, 8]]]
    small = NOISE.integers(0, 256, (1, 5, 6), np.uint8)
    image = Image.fromarray(small[0].astype(np.float32))
    grown = np.asarray(image.resize((13, 11), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(fit(small, (1, 11, 13))[0], grown, atol=1e-3)


def test_equal_sizes_change_nothing() -> None:
    image = NOISE.integers(0, 256, (3, 4, 5), np.uint8)
    np.testing.assert_array_equal(fit(image, (3, 4, 5)), image)


@pytest.mark.parametrize("shape", [(9, 128), (9, 1, 128), (2, 4, 4)])
def test_a_picture_has_no_place_in_a_sensors_model(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="has no place"):
        fit(np.zeros((1, 4, 4), np.uint8), shape)


def test_raw_values_come_from_npy_only(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(b"\0\0", (1, 1)))
    with pytest.raises(DataError, match="the model takes raw values"):
        load(tmp_path / "x.png", (1, 1, 1), pixels=False)


def survives(data: bytes) -> None:
    """Decode; only a DataError may come out."""
    try:
        image = decode(data, "x")
    except DataError:
        return
    assert image.dtype in (np.uint8, np.float32)


@settings(deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([b"", SIGNATURE, b"P5", b"P6 ", b"\x93NUMPY\x01\0"])
)
@example(b"F\0{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,)", b"\x93NUMPY\x01\0")
def test_any_bytes(tail: bytes, start: bytes) -> None:
    survives(start + tail)


def _npy_bytes() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 3), np.int16))
    return buffer.getvalue()


WHOLE = [
    png(b"\4abc\3def", (1, 2), colour=2),
    png(b"\1\x1b", (4, 1), depth=2, colour=3, palette=bytes(12)),
    b"P6 1 2 255 abcdef",
    _npy_bytes(),
    saved(Image.new("RGB", (8, 8)), "JPEG"),
    BITMAP,
    saved(Image.new("L", (8, 8)), "GIF"),
    saved(Image.new("RGB", (8, 8)), "WEBP"),
]


@settings(deadline=None)
@given(st.sampled_from(WHOLE), st.data())
def test_mutated_images(whole: bytes, draw: st.DataObject) -> None:
    data = bytearray(whole)
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    survives(
        bytes(data[: draw.draw(st.integers(0, len(data)))] if draw.draw(st.booleans()) else data)
    )


@settings(deadline=None)
@given(st.binary(min_size=13, max_size=13), st.binary(max_size=60), st.binary(max_size=9))
def test_mutated_chunks_with_right_checksums(header: bytes, lines: bytes, palette: bytes) -> None:
    depths, colours = (1, 2, 4, 8, 16), (0, 2, 3, 4, 6)
    small = bytes([0, 0, 0, header[3] % 9, 0, 0, 0, header[7] % 9])
    kind = bytes([depths[header[8] % 5], colours[header[9] % 5], 0, 0, 0])
    parts = [(b"IHDR", small + kind), (b"PLTE", palette), (b"IDAT", zlib.compress(lines))]
    survives(SIGNATURE + b"".join(chunk(*part) for part in [*parts, (b"IEND", b"")]))
