"""What `load` opens, and what it says where it cannot."""

from pathlib import Path
from typing import Any

import pytest

from edgeloop.data import Partition, load
from edgeloop.data.images import optional
from edgeloop.errors import ConfigError, DataError

IID = Partition("iid", clients=4, balanced=True)


def test_the_embedded_sample_is_balanced_and_in_order() -> None:
    federation = load("fashion-sample", IID)
    assert (federation.shape, federation.pixels, federation.classes) == ((1, 28, 28), True, 10)
    assert federation.label_counts().tolist() == [[150] * 10] * 4
    assert federation.class_names[0] == "T-shirt/top"
    assert federation.class_names[9] == "Ankle boot"


@pytest.mark.parametrize("source", ["fashion-sample", Path("fashion-sample")])
def test_an_undivided_source_needs_a_partition(source: Any) -> None:
    with pytest.raises(ConfigError, match="partition: missing"):
        load(source)


def test_a_path_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="nowhere/x: no such file or folder"):
        load("nowhere/x", IID)


def test_an_unknown_layout_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no data")
    with pytest.raises(DataError, match=r"notes\.txt: unknown layout"):
        load(tmp_path / "notes.txt", IID)
    with pytest.raises(DataError, match=r"unknown layout; give it config\.json"):
        load(tmp_path, IID)


def test_only_client_files_have_a_layout() -> None:
    with pytest.raises(ConfigError, match="layout: 'signal'"):
        load("fashion-sample", IID, layout="signal")


def test_a_reader_that_is_not_installed_names_its_extra() -> None:
    with pytest.raises(DataError, match=r"pip install 'edgeloop\[sim\]'"):
        optional("edgeloop.no_such_reader", "pillow")
