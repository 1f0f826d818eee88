"""AG News: its words, its vocabulary, its ids."""

from pathlib import Path

import numpy as np
import pytest

from edgeloop.data import layout_of, read
from edgeloop.data.news import token_ids, vocabulary, words
from edgeloop.errors import DataError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You can, now!", ["you", "can", ",", "now", "!"]),
        (
            'It\'s "done"; see: (a.b)?',
            ["it", "'", "s", "done", "see", "(", "a", ".", "b", ")", "?"],
        ),
        ("one<br />two-three $4", ["one", "two-three", "$4"]),
        ("  ", []),
    ],
)
def test_words_are_told_apart_as_torchtext_does(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_frequent_words_have_small_ids_and_ties_follow_the_alphabet() -> None:
    known = vocabulary([["b", "a", "c"], ["c", "d"]], size=5)
    assert known == {"c": 2, "a": 3, "b": 4}
    ids = token_ids([["c", "d", "b"], [], ["c"] * 201], known)
    assert ids.shape == (3, 200)
    assert ids.dtype == np.float32
    assert ids[0, :5].tolist() == [2, 1, 4, 0, 0]
    assert not ids[1].any()
    assert (ids[2] == 2).all()


def test_title_and_description_are_one_text(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('"3","Oil up","Up ""again"", up"\n"1","Peace","so"\n')
    (tmp_path / "test.csv").write_text('"4","Up","x"\n')
    pool = read(tmp_path)
    assert layout_of(tmp_path).layout == "AG News"
    assert pool.labels.tolist() == [2, 0, 3]
    assert pool.inputs[:, :7].tolist() == [
        [5, 2, 2, 4, 3, 2, 0],  # oil up up again , up
        [6, 7, 0, 0, 0, 0, 0],
        [2, 8, 0, 0, 0, 0, 0],
    ]
    assert pool.class_names[3] == "Sci/Tech"
    assert not pool.pixels


@pytest.mark.parametrize("row", ["5,a,b", "a,b,c", "1", "", "0,a"])
def test_a_row_that_is_none_is_named(tmp_path: Path, row: str) -> None:
    (tmp_path / "train.csv").write_text(f"1,a,b\n{row}\n2,c,d\n")
    (tmp_path / "test.csv").write_text("1,a,b\n")
    if not row:
        assert len(read(tmp_path)) == 3
        return
    with pytest.raises(DataError, match=r"train\.csv: row 1: is no class from 1 to 4"):
        read(tmp_path)


@pytest.mark.parametrize("heading", ["Class Index,Title,Description", "label,title,text"])
def test_a_heading_is_no_text(tmp_path: Path, heading: str) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text(f"{heading}\n1,a,b\n2,c,d\n")
    pool = read(tmp_path)
    assert layout_of(tmp_path).layout == "AG News"
    assert pool.labels.tolist() == [0, 1, 0, 1]
