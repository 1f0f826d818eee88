"""Reports of demo folders made by hand.

Shape suffixes: N uploaded prototypes, D their entries, C classes, P pixels, H entries of a latent.
"""

# Over 320 lines: every section of one page.

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from edgeloop.errors import RunError
from edgeloop.showing import pictures
from simulations.report import (
    Device,
    ReportData,
    Round,
    Timing,
    Traffic,
    charts,
    command,
    markup,
    read_demo,
    render,
    traffic,
)
from simulations.report.page import SECTIONS
from simulations.report.report_data import Array

NAMES = ("device-0", "device-1")
LABELS_N = np.array([0, 1, 0])
DEVICES_N = np.array([0, 0, 1])
PROTOTYPES_ND = np.array([[0, 0, 1], [2, 0, 1], [0, 1, 1]], np.float32)
UPLOADS: dict[str, Array] = {
    "labels": LABELS_N,
    "devices": DEVICES_N,
    "prototypes": PROTOTYPES_ND,
}
SUMMARY = {
    "task": "demo",
    "run": "f00d",
    "algorithm": "fedktl",
    "rounds": 2,
    "accuracy_by_round": [0.125, None, 0.875],
    "accuracy_by_device": {"device-0": 0.75, "device-1": 0.9375},
    "knowledge_sha256": "abcd",
    "generator": {"sha256": "beef"},
    "seconds_by_round": [1.5, 2.0],
}


def _images(number: int) -> Array:
    """Return both classes' images (2, 4) of a round: class n's pixels are 10 number + n."""
    return np.repeat(np.array([[10 * number], [10 * number + 1]], np.uint8), 4, axis=1)


def _round(number: int) -> Round:
    pairs: dict[str, Array] = {
        "broadcast.images_NP": _images(number),
        "broadcast.latents_NH": np.zeros((2, 5), np.float16),
    }
    return Round(number, {**UPLOADS, **pairs}, NAMES)


def _save(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _device(number: int) -> dict[str, Any]:
    return {
        "architecture": f"cnn-{number}",
        "train_samples": 1200 + number,
        "test_samples": 40,
        "accuracy_by_round": {"0": 0.1, "1": 0.2, "2": 0.5},
        "bytes_by_round": {
            "0": {"up": 100, "down": 20},
            "1": {"up": 100, "down": 1300},
            "2": {"up": 7, "down": 1300},
        },
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A demo of two devices, two classes, two rounds, and images of two pixels by two."""
    task = 'class_names = ["<script>alert(1)</script>", "boot"]\nshape = [1, 2, 2]\nseed = 41\n'
    (tmp_path / "aggregator.toml").write_text(task, encoding="utf-8")
    _save(tmp_path / "aggregator" / "summary.json", SUMMARY)
    history = tmp_path / "aggregator" / "history"
    history.mkdir()
    for number in range(2):
        path = history / f"round-{number:05}.safetensors"
        save_file(dict(_round(number).arrays), path, {"devices": json.dumps(NAMES)})
    for number, name in enumerate(NAMES):
        _save(tmp_path / name / "summary.json", _device(number))
    alone = {
        "accuracy_by_round": [0.25, 0.5, 0.625],
        "accuracy_by_client": {"client-1": 0.75, "client-0": 0.5},
        "seconds": {"training": 6.25, "wall": 8.0},
        "config": {"versions": {"torch": "9.8.7"}, "data": "somewhere"},
    }
    _save(tmp_path / "alone" / "summary.json", alone)
    head = "round,seconds,seconds_training,seconds_evaluating,seconds_aggregating\n"
    (tmp_path / "alone" / "rounds.csv").write_text(head + "0,3,2.25,0,0\n1,5,4.0,0,0\n")
    return tmp_path


class _Page(HTMLParser):
    """The elements, and the text, of a page whose elements are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == "img"]


def _pixels(source: str | None) -> Array:
    kind, content = (source or "").split(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_a_demo_is_read_whole(folder: Path) -> None:
    report_data = read_demo(folder)
    assert report_data.title == "demo: fedktl, 2 rounds"
    assert report_data.class_names == ("<script>alert(1)</script>", "boot")
    assert report_data.shape == (1, 2, 2)
    assert report_data.federated == {0: 0.125, 2: 0.875}  # nobody had test samples in round 1
    assert report_data.alone == {0: 0.25, 1: 0.5, 2: 0.625}
    assert report_data.devices == (
        Device("device-0", "cnn-0", 1200, 40, 0.5, 0.75),
        Device("device-1", "cnn-1", 1201, 40, 0.75, 0.9375),
    )
    assert report_data.traffic["device-1"][1] == Traffic(up=100, down=1300)
    assert [each.number for each in report_data.history] == [0, 1]
    assert report_data.history[1].devices == NAMES
    np.testing.assert_array_equal(report_data.history[1].arrays["prototypes"], PROTOTYPES_ND)
    assert report_data.timings == (
        Timing("federated: whole round", {0: 1.5, 1: 2.0}),
        Timing("alone: devices' training", {0: 2.25, 1: 4.0}, 6.25),
        Timing("alone: whole run", {0: 3.0, 1: 5.0}, 8.0),
    )
    assert report_data.facts == {
        "algorithm": "fedktl",
        "task": "demo",
        "rounds": "2",
        "run": "f00d",
        "knowledge sha256": "abcd",
        "generator sha256": "beef",
        "seed": "41",
        "version of torch": "9.8.7",
    }


def test_the_page_tells_every_number_and_needs_nothing_else(folder: Path) -> None:
    page = render(read_demo(folder))
    found = _Page(page)
    for number in ("0.625", "0.875", "+0.250", "+0.188", "1,201", "1,300", "6.25", "3.50", "9.8.7"):
        assert number in page, number
    assert [text for text in SECTIONS if text in found.text] == list(SECTIONS)
    assert 'class="missing"' not in page
    assert not re.search(r"https?://|@import|url\(", page)
    sources = [value for _, each in found.seen for name, value in each.items() if name == "src"]
    assert all(value is not None and value.startswith("data:image/png") for value in sources)
    assert not {"script", "link", "iframe", "object"} & {name for name, _ in found.seen}
    links = [each.get("href") for name, each in found.seen if name == "a"]
    assert links == [f"#part-{number}" for number in range(1, len(SECTIONS) + 1)]
    ids = [each["id"] for _, each in found.seen if "id" in each]
    assert [f"#{each}" for each in ids] == links
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_it_says_whether_taking_part_paid(folder: Path) -> None:
    report_data = read_demo(folder)
    # 30 and 37.5, so 38, of 40 samples right, where 20 and 30 were alone.
    assert report_data.verdict == (
        "Whether taking part paid cannot be decided with so few devices: +22.5 points (95 %"
        " interval -9.3 to +54.3) over 2 devices with 40 test samples each; 0 devices better and 0"
        " worse beyond chance."
    )
    assert f'<p class="lead">{report_data.verdict}</p>' in render(report_data)
    assert "Whether taking part paid is not known" in render(replace(report_data, devices=()))
    untested = replace(report_data, devices=(Device("a", "cnn", 9, 0, 0.0, 0.0),))
    assert untested.verdict == "Nobody knows whether taking part paid: no device has a test sample."
    for unknown in (Device("a", "cnn", 9, 9, None, 0.5), Device("a", "cnn", 9, 9, 0.5, 1.5)):
        assert replace(report_data, devices=(unknown,)).verdict is None


def test_what_counts_is_what_a_device_puts_into_use(folder: Path) -> None:
    for number, mixed in enumerate((0.55, 0.8)):
        path = folder / f"device-{number}" / "summary.json"
        _save(path, {**json.loads(path.read_text()), "mix": {"weight": 0.5, "mixed": mixed}})
    report_data = read_demo(folder)
    assert [each.federated for each in report_data.devices] == [0.55, 0.8]
    assert [each.network for each in report_data.devices] == [0.75, 0.9375]
    assert report_data.federated[2] == 0.875  # the curves stay the run's model
    assert "+5.0 points" in (report_data.verdict or "")
    page = render(report_data)
    assert "In use: alone 0.625, federated 0.675." in page
    assert "the run&#x27;s model, not mixed" in page
    assert "67.5%" in page
    assert "In use" not in render(replace(report_data, devices=()))


@pytest.mark.parametrize(
    "more", [{"gate": {"keeps": "old", "old_run": "r"}, "onnx": "m"}, {"onnx": None}]
)
def test_a_mixture_that_is_not_in_use_does_not_count(folder: Path, more: dict[str, Any]) -> None:
    path = folder / "device-0" / "summary.json"
    _save(path, {**json.loads(path.read_text()), "mix": {"weight": 0.5, "mixed": 0.99}, **more})
    first = read_demo(folder).devices[0]
    assert (first.federated, first.network) == (0.75, None)


def test_every_text_is_escaped(folder: Path) -> None:
    report_data = read_demo(folder)
    bad = '"><script>x</script>'
    wild = replace(
        report_data,
        title=bad,
        devices=(Device(bad, bad, 1, 1, 0.5, 0.5),),
        traffic={bad: report_data.traffic["device-0"]},
        facts={bad: bad},
        timings=(Timing(bad, {0: 1.0}),),
        history=tuple(replace(each, devices=(bad, bad)) for each in report_data.history),
    )
    page = render(wild)
    assert "<script" not in page
    assert "script" not in {name for name, _ in _Page(page).seen}
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4  # grid, map, legend


def test_one_image_for_each_class_and_round(folder: Path) -> None:
    images = _Page(render(read_demo(folder))).images()
    names = ["<script>alert(1)</script>", "boot"]
    assert [each["alt"] for each in images] == [
        f"{name}, round {number}" for name in names for number in (0, 1)
    ]
    for image, grey in zip(images, (0, 10, 1, 11), strict=True):
        np.testing.assert_array_equal(_pixels(image["src"]), np.full((56, 56), grey))


def test_of_many_rounds_twelve_are_shown() -> None:
    assert pictures.evenly_spaced(3) == [0, 1, 2]
    assert pictures.evenly_spaced(12) == list(range(12))
    assert pictures.evenly_spaced(23) == list(range(0, 23, 2))
    many = ReportData(
        "many", ("a", "b"), (1, 2, 2), history=tuple(_round(number) for number in range(23))
    )
    images = _Page(render(many)).images()
    assert [each["alt"] for each in images[:12]] == [f"a, round {n}" for n in range(0, 23, 2)]
    assert len(images) == 24


def test_pixels_are_repeated_not_blended() -> None:
    grey = pictures.picture(np.array([1, 2, 3, 4], np.uint8), (1, 2, 2))
    np.testing.assert_array_equal(
        _pixels(grey), np.array([[1, 2], [3, 4]]).repeat(28, 0).repeat(28, 1)
    )
    colour = pictures.picture(np.arange(12, dtype=np.uint8), (3, 2, 2))
    np.testing.assert_array_equal(_pixels(colour)[0, 0], [0, 4, 8])
    signal = pictures.picture(np.arange(6, dtype=np.uint8), (2, 1, 3))
    np.testing.assert_array_equal(_pixels(signal), np.arange(6).reshape(2, 3).repeat(28, 0))


def test_the_plane_of_known_points() -> None:
    points_ND = np.array([[5, 0, 7], [9, 0, 7], [5, 0, 9], [9, 0, 9]], np.float32)
    plane = pictures.plane(points_ND)
    np.testing.assert_allclose(plane.mean_D, [7, 0, 8])
    np.testing.assert_allclose(plane.axes_2D, [[1, 0, 0], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(plane.shares_2, [0.8, 0.2])
    np.testing.assert_allclose(plane.project(points_ND), [[-2, -1], [2, -1], [-2, 1], [2, 1]])
    np.testing.assert_allclose(plane.project(np.array([[7, 100, 8]])), [[0, 0]], atol=1e-12)


def test_points_on_a_line_and_a_single_point_have_a_plane() -> None:
    line = pictures.plane(np.array([[0, 0], [3, 4]]))
    np.testing.assert_allclose(line.project(np.array([[0, 0], [3, 4]])), [[-2.5, 0], [2.5, 0]])
    np.testing.assert_allclose(line.shares_2, [1, 0])
    alone = pictures.plane(np.array([[3.0, 4.0]]))
    np.testing.assert_array_equal(alone.project(np.array([[3.0, 4.0]])), [[0, 0]])


def _titles(page: str) -> list[str]:
    return re.findall(r"<path[^>]*transform[^>]*><title>([^<]*)</title>", page)


def test_the_map_has_a_mark_for_each_upload_and_a_cross_for_each_known_prototype() -> None:
    known: dict[str, Array] = {
        "broadcast.known_C": np.array([True, False]),
        "broadcast.prototypes_CD": np.ones((2, 3), np.float32),
    }
    report_data = ReportData("tgp", ("a", "b"), history=(Round(4, {**UPLOADS, **known}, NAMES),))
    page = render(report_data)
    assert _titles(page) == ["device-0, a", "device-0, b", "device-1, a", "broadcast, a"]
    assert len(re.findall(re.escape(f'd="{charts.CROSS}" transform'), page)) == 1
    assert "uploaded in round 4" in page
    assert "This run&#x27;s broadcasts hold no images" in page


def test_floats_are_prototypes_up_and_the_broadcast_before_down(folder: Path) -> None:
    report_data = read_demo(folder)
    assert traffic.floats(report_data, "device-0", 0) == (
        6,
        0,
    )  # two prototypes of three; nothing yet
    assert traffic.floats(report_data, "device-1", 1) == (
        3,
        18,
    )  # two images of 4, two latents of 5
    assert traffic.floats(report_data, "device-1", 2) == (0, 18)  # the evaluation
    late = replace(report_data, history=report_data.history[1:])
    assert traffic.floats(late, "device-1", 0) == (None, 0)
    assert traffic.floats(late, "device-1", 1) == (3, None)
    assert traffic.floats(replace(report_data, history=()), "device-1", 1) == (None, None)
    assert "<td>207</td><td>12</td><td>2,620</td><td>36</td>" in render(report_data)


def test_only_known_prototypes_are_floats_down() -> None:
    arrays = {
        "broadcast.known_C": np.array([True, False, True]),
        "broadcast.prototypes_CD": np.ones((3, 7), np.float32),
    }
    assert Round(0, arrays).floats_down() == 14


def test_what_is_missing_is_said() -> None:
    page = render(ReportData("bare"))
    reasons = re.findall(r'<h2>([^<]*)</h2><p class="missing">([^<]+)\.</p>', page)
    assert [title for title, _ in reasons] == list(SECTIONS)
    one = render(ReportData("one", federated={0: 0.5}))
    assert "The run alone tells no accuracy by round." in one
    assert "federated 0.500" in one


def test_only_the_aggregators_summary_must_be_there(tmp_path: Path) -> None:
    _save(tmp_path / "aggregator" / "summary.json", SUMMARY)
    report_data = read_demo(tmp_path)
    assert report_data.devices[1] == Device("device-1", federated=0.9375)
    assert (report_data.alone, report_data.history, report_data.traffic) == ({}, (), {})
    assert "history = true" in render(report_data)


def test_clients_that_are_no_devices_are_not_taken_for_them(folder: Path) -> None:
    _save(folder / "alone" / "summary.json", {"accuracy_by_client": {"client-0": 0.5}})
    assert [device.alone for device in read_demo(folder).devices] == [None, None]


def test_a_folder_that_is_no_demo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no finished demo's.*edgeloop demo") as refused:
        read_demo(tmp_path)
    assert refused.value.field == str(tmp_path)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content, encoding="utf-8")


def _arrays(name: str, array: Array, devices: str = '["a", "b"]') -> Callable[[Path], None]:
    def change(path: Path) -> None:
        save_file({**_round(0).arrays, name: array}, path, {"devices": devices})

    return change


HISTORY = "aggregator/history/round-00001.safetensors"
DAMAGES = {
    "half a summary": ("aggregator/summary.json", _text('{"task": ')),
    "no table": ("aggregator/summary.json", _text("[]")),
    "no accuracy": (
        "aggregator/summary.json",
        _text('{"task": "a", "algorithm": "b", "rounds": 1}'),
    ),
    "no number": ("alone/summary.json", _text('{"accuracy_by_round": [NaN]}')),
    "negative bytes": ("device-1/summary.json", _text('{"bytes_by_round": {"0": {"up": -1}}}')),
    "no TOML": ("aggregator.toml", _text("shape = [")),
    "no text": ("alone/summary.json", lambda path: path.write_bytes(b"\xff")),
    "a column less": ("alone/rounds.csv", _text("round,seconds\n0,1\n")),
    "no seconds": ("alone/rounds.csv", _text("round,seconds\n0,nan\n")),
    "half a history": (HISTORY, _cut),
    "no device's name": (HISTORY, _arrays("labels", LABELS_N, devices="[]")),
    "too few labels": (HISTORY, _arrays("labels", np.array([0, 1]))),
    "a negative label": (HISTORY, _arrays("labels", np.array([0, -1, 1]))),
    "prototypes that are none": (HISTORY, _arrays("prototypes", np.ones(3, np.float32))),
    "flags without prototypes": (HISTORY, _arrays("broadcast.known_C", np.ones(2, bool))),
    "images that are none": (HISTORY, _arrays("broadcast.images_NP", np.ones(3, np.uint8))),
}


@pytest.mark.parametrize(("name", "damage"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_named(folder: Path, name: str, damage: Callable[[Path], object]) -> None:
    damage(folder / name)
    with pytest.raises(RunError, match=r"is damaged \(.+\); restore it") as refused:
        read_demo(folder)
    assert refused.value.field == str(folder / name)


def test_images_of_another_shape_are_left_out(folder: Path) -> None:
    (folder / "aggregator.toml").write_text("shape = [1, 3, 3]")
    page = render(read_demo(folder))
    assert "does not tell the shape of these images" in page
    assert _Page(page).images() == []


def test_prototypes_that_are_not_finite_are_not_drawn() -> None:
    arrays = {**_round(3).arrays, "prototypes": np.full((3, 2), np.nan, np.float32)}
    page = render(ReportData("nan", ("a", "b"), history=(Round(3, arrays, NAMES),)))
    assert "A prototype of round 3 holds an entry that is not finite." in page


def test_ticks_are_round_numbers() -> None:
    assert charts.ticks(1.0) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert charts.ticks(10) == [0, 2, 4, 6, 8, 10]
    assert charts.ticks(66_000) == [0, 20_000, 40_000, 60_000, 80_000]
    assert charts.ticks(0) == [0, 1]


def test_a_line_goes_through_its_points() -> None:
    drawn = charts.lines("a", [charts.Series("b", {0: 0.0, 4: 1.0}, "red")], "c", top=1.0)
    assert 'points="56.0,196.0 386.0,12.0"' in drawn


def test_markers_and_colours_differ() -> None:
    assert len({charts.shape(number) for number in range(16)}) == 16
    for count in (10, 30):
        assert len({charts.colour(number, count) for number in range(count)}) == count


def test_only_markup_is_not_escaped() -> None:
    bold = markup.tag("b", "<&", class_='"x"', stroke_width=1.25)
    assert bold == '<b class="&quot;x&quot;" stroke-width="1.25">&lt;&amp;</b>'
    assert markup.join_children([bold, "<"]) == bold + "&lt;"


def test_the_command_writes_into_the_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(folder)]) == 0
    path = folder / "report.html"
    assert capsys.readouterr().out == f"report: {path}\n"
    assert path.read_text(encoding="utf-8") == render(read_demo(folder))
    other = folder / "other.html"
    assert command.main([str(folder), "--out", str(other)]) == 0
    assert other.read_bytes() == path.read_bytes()
    with pytest.raises(RunError, match="cannot be written"):
        command.write(folder, folder / "nowhere" / "report.html")
