"""What a person calls a data set: recognised once, whatever it names."""

from pathlib import Path

import pytest

from edgeloop.data import Pool, Source, layouts
from edgeloop.data.columns import BY_NAME
from edgeloop.data.reference import DataReference, Undivided
from edgeloop.data.sample import fashion_sample
from edgeloop.errors import DataError
from edgeloop.runtime import plugins
from tests.data.layouts import idx_pair


def test_the_sample_in_the_package() -> None:
    reference = DataReference.of("fashion-sample")
    assert not reference.is_divided
    assert reference.undivided() == Undivided(Path("fashion-sample"), layouts.EMBEDDED)


def test_a_path_as_text_and_as_a_path(tmp_path: Path) -> None:
    idx_pair(tmp_path, "train", [1], [0], packed=False)
    for source in (tmp_path, str(tmp_path)):
        reference = DataReference.of(source)
        assert (reference.text, reference.path) == (str(tmp_path), tmp_path)
        found = reference.undivided()
        assert (found.path, found.layout.layout) == (tmp_path, "IDX")


def test_a_reader_that_a_person_names_is_given_what_follows_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "_BROUGHT", {})
    given: list[Path] = []

    def read(path: Path) -> Pool:
        given.append(path)
        return fashion_sample()

    plugins.SOURCES.give("pkg.module:NAME", Source("theirs", Path.exists, read))
    place = tmp_path / "a:b"
    found = DataReference.of(f"pkg.module:NAME:{place}").undivided()
    assert (found.path, found.layout.layout) == (place, "pkg.module:NAME")
    assert DataReference.of("pkg.module:NAME:").undivided().path == Path()
    assert len(found.read(None, None, BY_NAME)) == 6000
    assert given == [place]


def test_an_empty_name_is_not_the_working_folder() -> None:
    with pytest.raises(DataError, match="data: is empty"):
        DataReference.of("")
