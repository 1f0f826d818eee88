"""Tables with labels: of images, of texts, of numbers."""

from pathlib import Path

import numpy as np
import pytest

from edgeloop.data import Columns, Partition, layout_of, load, read
from edgeloop.data.table_reading import read_table
from edgeloop.errors import ConfigError, DataError
from tests.data.test_class_layout import lay, said


def table(path: Path, heading: str, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((heading, *rows)) + "\n")
    return path


@pytest.mark.parametrize(
    ("heading", "rows"),
    [
        ("file,label", ("0.png,dog", "1.png,cat", "2.png,dog")),
        ("image_id,breed", ("0,dog", "1,cat", "2,dog")),
        ("id;class", ("0;dog", "1;cat", "2;dog")),
        ("label,filename", ("dog,images/0.png", "cat,images/1.png", "dog,images/2.png")),
    ],
)
def test_images_that_a_table_labels(tmp_path: Path, heading: str, rows: tuple[str, ...]) -> None:
    """Kaggle's layout."""
    lay(tmp_path, "images/0.png", "images/1.png", "images/2.png")
    table(tmp_path / "labels.csv", heading, *rows)
    pool = read(tmp_path)
    assert layout_of(tmp_path).layout == "table with labels"
    assert pool.class_names == ("cat", "dog")
    assert pool.labels.tolist() == [1, 0, 1]
    assert pool.inputs[:, 0, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("where", ["root", "parts", "jsonl"])
def test_a_folder_of_the_hub_with_metadata(tmp_path: Path, where: str) -> None:
    lay(tmp_path, "train/0.png", "train/1.png", "test/2.png")
    if where == "root":
        cells = ("train/0.png,5", "train/1.png,7", "test/2.png,7")
        table(tmp_path / "metadata.csv", "file_name,label", *cells)
    elif where == "parts":
        table(tmp_path / "train" / "metadata.csv", "file_name,label", "0.png,5", "1.png,7")
        table(tmp_path / "test" / "metadata.csv", "file_name,label", "2.png,7")
    else:
        lines = (
            '{"file_name": "train/0.png", "label": 5}',
            '{"file_name": "train/1.png", "label": 7}',
        )
        table(tmp_path / "metadata.jsonl", *lines, '{"file_name": "test/2.png", "label": 7}')
    pool = read(tmp_path)
    assert (pool.class_names, pool.labels.tolist()) == (("5", "7"), [0, 1, 1])
    assert pool.tested is not None
    assert pool.tested.tolist() == [False, False, True]


def test_columns_that_somebody_names(tmp_path: Path) -> None:
    lay(tmp_path, *(f"scans/{number}.png" for number in range(8)))
    rows = [f"{n}.png,{'ill' if n % 2 else 'well'},ward {n // 4}" for n in range(8)]
    table(tmp_path / "list.csv", "scan,finding,ward", *rows)
    with pytest.raises(DataError, match="no column of labels; the columns are scan, finding"):
        read(tmp_path)
    named = Columns(label="finding", image="scan", client="ward")
    found = load(tmp_path, Partition("natural"), columns=named)
    assert found.class_names == ("ill", "well")
    assert found.label_counts().tolist() == [[2, 2], [2, 2]]
    with pytest.raises(ConfigError, match=r"label_column: there is no 'findings' in .*list\.csv"):
        read(tmp_path, columns=Columns(label="findings"))


def test_class_folders_come_before_a_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path, "cat/0.png", "dog/1.png")
    rows = ("cat/0.png,a", "dog/1.png,b")
    table(tmp_path / "metadata.csv", "file_name,patient", *rows)
    assert read(tmp_path).class_names == ("cat", "dog")
    assert said(caplog) == f"{tmp_path}: left out: 1 .csv"
    assert read(tmp_path, columns=Columns(label="patient")).class_names == ("a", "b")


def test_what_no_row_names_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay(tmp_path, "images/0.png", "images/1.png", "images/2.png", "more/3.png")
    table(tmp_path / "labels.csv", "file,label", "0.png,a", "1.png,b", "2.png,")
    (tmp_path / "readme.md").write_text("")
    table(tmp_path / "sample_submission.csv", "file,guess", "0.png,a")
    assert len(read(tmp_path)) == 2
    assert said(caplog).splitlines() == [
        f"{tmp_path}/labels.csv: left out: 1 row without a label",
        f"{tmp_path}/sample_submission.csv: left out: it has no column of labels",
        f"{tmp_path}: left out: 1 .md",
        f"{tmp_path}: left out: 2 images that no row names",
    ]


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("9.png", "there is no image '9.png'"),
        ("../../x.png", r"there is no image"),
        ("1.png", "there are 2 images called '1.png'"),
        ("", "there is no image ''"),
    ],
)
def test_a_row_that_names_no_image_is_named(tmp_path: Path, cell: str, problem: str) -> None:
    lay(tmp_path, "images/0.png", "images/a/1.png", "images/b/1.png")
    table(tmp_path / "labels.csv", "file,label", "0.png,a", f"{cell},b")
    with pytest.raises(DataError, match=rf"labels\.csv: row 1: {problem}"):
        read(tmp_path)


def test_pixels_are_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Kaggle's digit-recognizer, whose test part has no labels."""
    heading = ",".join(f"pixel{number}" for number in range(64))
    rows = [",".join(map(str, range(start, start + 64))) for start in (0, 100, 50)]
    labels = (3, 5, 3)
    with_labels = [f"{label},{row}" for label, row in zip(labels, rows, strict=True)]
    table(tmp_path / "train.csv", f"label,{heading}", *with_labels)
    table(tmp_path / "test.csv", heading, *rows)
    pool = read(tmp_path)
    assert (pool.shape, pool.pixels) == ((1, 8, 8), True)
    assert pool.inputs[1, 0].ravel().tolist() == list(range(100, 164))
    assert (pool.class_names, pool.labels.tolist()) == (("3", "5"), [0, 1, 0])
    assert "test.csv: left out: it has no column of labels" in said(caplog)


def test_numbers_stay_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = ("1,5.1,3.5,setosa,Bonn", "2,7.0,3.2,versicolor,Rome", "3,6.3,3.3,setosa,Bonn")
    path = table(tmp_path / "iris.csv", "id,length,width,species,city", *rows)
    pool = read(path)
    assert np.allclose(pool.inputs, [[5.1, 3.5], [7.0, 3.2], [6.3, 3.3]])
    assert pool.inputs.dtype == np.float32
    assert pool.class_names == ("setosa", "versicolor")
    assert not pool.pixels
    assert "left out: columns that are no numbers (city)" in said(caplog)
    assert "left out: columns that count rows (id)" in said(caplog)


@pytest.mark.parametrize("cell", ["", "n/a", "nan", "inf"])
def test_a_cell_that_is_no_number_is_named(tmp_path: Path, cell: str) -> None:
    path = table(tmp_path / "a.csv", "label,x,y2", "0,1,2", f"1,3,{cell}")
    with pytest.raises(DataError, match=rf"a\.csv: row 1: `y2` is '{cell}', no number"):
        read(path)


def test_texts_become_ids(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", "text,label", "good good film,pos", '"bad, bad film",neg')
    table(tmp_path / "test.csv", "text,label", "good,pos")
    pool = read(tmp_path)
    assert pool.class_names == ("neg", "pos")
    assert pool.labels.tolist() == [1, 0, 1]
    assert pool.inputs[:, :4].tolist() == [[2, 2, 4, 0], [3, 5, 3, 4], [2, 0, 0, 0]]
    assert pool.tested is not None
    assert pool.tested.tolist() == [False, False, True]


def test_a_column_of_parts(tmp_path: Path) -> None:
    rows = ("test,0,1", "train,1,2", "val,0,3", "train,0,4")
    pool = read(table(tmp_path / "a.csv", "split,label,x", *rows))
    assert pool.inputs.ravel().tolist() == [2, 4, 3, 1]
    assert pool.tested is not None
    assert pool.tested.tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"a.csv": "1,2,3\n4,5,6\n"}, r"a\.csv: has no heading: its first row is 1, 2, 3"),
        (
            {"a.csv": "label,city\n0,Bonn\n"},
            "no column of images that are there, of",
        ),
        ({"a.csv": "label,x\n,1\n"}, r"a\.csv: no row has a `label`"),
        (
            {"a.csv": "label,x\n0,1\n", "b.csv": "label,x\n0,1\n"},
            "several tables with",
        ),
        ({"a.csv": ""}, r"a\.csv: is empty"),
        ({"a.jsonl": "{}\n3\n"}, r"a\.jsonl: row 1: is no JSON object"),
    ],
    ids=["heading", "samples", "labels", "several", "empty", "json"],
)
def test_tables_that_do_not_fit_are_named(
    tmp_path: Path, files: dict[str, str], problem: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=problem):
        read(tmp_path)


def test_another_programs_metadata_is_no_camera_trap(tmp_path: Path) -> None:
    """WILDS' Camelyon17 has the same file with other columns."""
    table(tmp_path / "metadata.csv", ",patient,node,tumor,center,split", "0,004,4,1,0,0")
    with pytest.raises(
        DataError, match=r"the columns are '', patient, node, tumor, .*camera traps need `filename`"
    ):
        read(tmp_path)


def test_a_size_needs_images(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "label,x", "0,1", "1,2")
    with pytest.raises(ConfigError, match="image_size: is of image files"):
        read_table(path, 8)
