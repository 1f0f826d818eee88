"""Reading pictures and arrays: what training saw, and nothing but a DataError."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edge.agent import images
from edge.agent.images import fit, load
from edgeloop.data.images import read_class_folders
from edgeloop.errors import DataError
from edgeloop.runtime.pictures import decode

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NOISE = np.random.default_rng(6)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    lines: bytes, size: tuple[int, int], depth: int = 8, colour: int = 0, palette: bytes = b""
) -> bytes:
    """Make a PNG of lines that are filtered already."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"PLTE", palette) if palette else b""]
    parts += [chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    return SIGNATURE + b"".join(parts)


def saved(image: Image.Image, kind: str = "PNG", orientation: int | None = None) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    image.save(buffer, kind, exif=exif)
    return buffer.getvalue()


def picture(mode: str, size: tuple[int, int] = (23, 14)) -> Image.Image:
    pixels = NOISE.integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


BITMAP = saved(Image.new("L", (8, 8)), "BMP")


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_predict_sees_what_training_saw(
    kind: str, mode: str, orientation: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "shoe" / f"0.{kind.lower()}"
    path.parent.mkdir()
    path.write_bytes(saved(picture(mode), kind, orientation))
    trained = read_class_folders(tmp_path, size=8).inputs[0]
    asked = load(path, trained.shape, pixels=True)
    assert asked.dtype == np.float32
    np.testing.assert_array_equal(asked, trained)
    turned = orientation is not None and orientation >= 5
    whole = read_class_folders(tmp_path).inputs[0]
    assert whole.shape[1:] == ((23, 14) if turned else (14, 23))
    np.testing.assert_array_equal(load(path, whole.shape, pixels=True), whole)


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA", "CMYK"])
def test_predict_sees_what_training_saw_in_other_modes(mode: str, tmp_path: Path) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    path = tmp_path / "shoe" / f"0.{kind.lower()}"
    path.parent.mkdir()
    path.write_bytes(saved(picture(mode), kind))
    trained = read_class_folders(tmp_path, size=8).inputs[0]
    np.testing.assert_array_equal(load(path, trained.shape, pixels=True), trained)


def test_grey_among_colours_is_the_same_too(tmp_path: Path) -> None:
    for name, mode in (("0", "RGB"), ("1", "L")):
        (tmp_path / "shoe").mkdir(exist_ok=True)
        (tmp_path / "shoe" / f"{name}.png").write_bytes(saved(picture(mode)))
    trained = read_class_folders(tmp_path, size=9).inputs
    asked = load(tmp_path / "shoe" / "1.png", (3, 9, 9), pixels=True)
    np.testing.assert_array_equal(asked, trained[1])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_what_pillow_makes_of_it(orientation: int) -> None:
    data = saved(picture("RGB"), "PNG", orientation)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image)).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode(data, "x"), expected)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_nobody_knows_turns_nothing(orientation: int) -> None:
    plain = picture("L")
    data = saved(plain, "PNG", orientation)
    np.testing.assert_array_equal(decode(data, "x")[0], np.asarray(plain))


def test_damaged_exif_turns_nothing() -> None:
    plain = picture("L")
    whole = saved(plain, "PNG", 6)
    at = whole.index(b"eXIf") + 4
    damaged = whole[at : at + 8] + b"\xff" * 10
    length = int.from_bytes(whole[at - 8 : at - 4])
    data = whole[: at - 8] + chunk(b"eXIf", damaged) + whole[at + length + 4 :]
    np.testing.assert_array_equal(decode(data, "x")[0], np.asarray(plain))


def test_colours_and_alpha_are_converted() -> None:
    colour = Image.new("RGBA", (1, 1), (10, 20, 30, 77))
    assert decode(saved(colour), "x").ravel().tolist() == [10, 20, 30]
    assert decode(saved(colour), "x", channels=1).ravel().tolist() == [18]
    grey = Image.new("L", (1, 1), 10)
    assert decode(saved(grey), "x", channels=3).ravel().tolist() == [10, 10, 10]
    assert decode(saved(grey.convert("LA")), "x", channels=1).ravel().tolist() == [10]
    assert decode(png(b"\0\xa0", (3, 1), depth=1), "x").tolist() == [[[255, 0, 255]]]


def test_sixteen_bits_are_scaled_where_they_are_taken() -> None:
    pixels = np.array([[0, 257, 32896, 65535]], np.uint16)
    for kind in ("PNG", "PPM"):
        data = saved(Image.fromarray(pixels), kind)
        assert decode(data, "x", deep=True).tolist() == [[[0, 1, 128, 255]]]
        with pytest.raises(DataError, match="pixels of mode I"):
            decode(data, "x")
    colours = png(b"\0" + bytes([255, 255, 0, 0, 1, 1]), (1, 1), depth=16, colour=2)
    assert decode(colours, "x").ravel().tolist() == [255, 0, 1]


def test_both_sides_are_as_asked() -> None:
    assert decode(saved(picture("RGB")), "x", size=(5, 9)).shape == (3, 5, 9)
    assert decode(saved(picture("RGB"), "PNG", 6), "x", size=(5, 9)).shape == (3, 5, 9)


@pytest.mark.parametrize("kind", ["BMP", "GIF", "WEBP", "PPM", "JPEG"])
def test_other_kinds_where_they_are_taken(kind: str) -> None:
    data = saved(picture("RGB"), kind)
    assert decode(data, "x").shape == (3, 14, 23)
    with pytest.raises(DataError, match="not a PNG or TIFF image"):
        decode(data, "x", kinds=("PNG", "TIFF"))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (png(b"\0\0", (1, 1), colour=5), "not a PNG"),
        (png(b"\5\0", (1, 1)), "not a PNG"),
        (png(b"", (8001, 8000)), "too large, 8001 x 8000 pixels; shrink it to at most 64 mega"),
        (png(b"", (1, 40_000)), "too large"),
        (png(b"\0\0", (1, 1))[:-30], "not a PNG"),
        (b"P5 2 2 255\nabc", "not a PNG"),
        (b"P6 two 2 255\n", "not a PNG"),
        (b"P5 99999 99999 255\n", "too large"),
        (b"Pf 1 1 1.0\nabcd", "pixels of mode F"),
        (BITMAP[:25] + b"\1" + BITMAP[26:], "too large, 8 x 16777224 pixels"),
        (b"nothing that anyone knows", "PPM or TIFF image (its first bytes are of no such file)"),
        (b"", "is empty"),
    ],
)
def test_what_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        decode(data, "shoe.png")
    assert str(caught.value).startswith("shoe.png: ")
    assert problem in str(caught.value)
    assert "BytesIO" not in str(caught.value)


def test_pgm_and_ppm() -> None:
    assert decode(b"P5 # grey\n2\n1 255\n\x07\x09", "x").tolist() == [[[7, 9]]]
    assert decode(b"P6 1 2 255 abcdef", "x").tolist() == [
        [[97], [100]],
        [[98], [101]],
        [[99], [102]],
    ]


@pytest.mark.parametrize("kind", ["?", "u1", "i2", ">i4", "u8", "f2", "<f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_every_number(tmp_path: Path, kind: str, order: str) -> None:
    array = (np.arange(6).reshape(1, 2, 3) % 2).astype(kind)
    np.save(tmp_path / "x.npy", np.asfortranarray(array) if order == "F" else array)
    found = load(tmp_path / "x.npy", (1, 2, 3), pixels=False)
    assert found.dtype == np.float32
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
        load(path, (1,), pixels=True)


def test_npy_of_another_length(tmp_path: Path) -> None:
    path = npy(np.zeros(4, np.float32), tmp_path / "x.npy")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="another length"):
        load(path, (1,), pixels=True)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, problem in ((tmp_path / "none.png", "there is no such file"), (tmp_path, "a folder")):
        with pytest.raises(DataError, match=problem):
            load(path, (1,), pixels=True)
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / ("n" * 300), (1,), pixels=True)
    (tmp_path / "x.png").write_bytes(bytes(11))
    monkeypatch.setattr(images, "MOST_BYTES", 10)
    with pytest.raises(DataError, match="larger than"):
        load(tmp_path / "x.png", (1,), pixels=True)


@pytest.mark.parametrize("shape", [(9, 128), (9, 1, 128), (2, 4, 4)])
def test_a_picture_has_no_place_in_a_sensors_model(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="has no place"):
        fit(saved(picture("L")), shape, "x", pixels=True)


def test_raw_values_come_from_npy_only(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(b"\0\0", (1, 1)))
    with pytest.raises(DataError, match="the model takes raw values"):
        load(tmp_path / "x.png", (1, 1, 1), pixels=False)


def survives(data: bytes) -> None:
    """Decode; only a DataError may come out."""
    try:
        image = fit(data, (1, 2, 3), "x", pixels=True)
    except DataError:
        return
    assert image.shape == (1, 2, 3)


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
