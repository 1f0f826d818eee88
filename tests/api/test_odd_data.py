"""Data as people have them: what can be read is read rightly, and what cannot is said."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, Subset

from edgeloop.data import Pool
from edgeloop.errors import ConfigError, DataError
from edgeloop.runtime.plugins import SOURCES
from simulations.api.brought import data_name

Y = np.arange(20) % 2
X = np.random.default_rng(0).normal(size=(20, 1, 4, 4)).astype(np.float32)


class Labelled(Dataset[Any]):
    """Pairs whose labels a function makes of 0 and 1."""

    def __init__(self, label: Callable[[int], Any], classes: Any = None) -> None:
        self.label = label
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(Y)

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        return X[number], self.label(int(Y[number]))


class Shaped(Labelled):
    """A data set that says what its inputs are like."""

    shape = (1, 4, 4)


class Broken(Labelled):
    """One sample cannot be read."""

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        if number == 3:
            raise OSError("broken")
        return super().__getitem__(number)


def pool(data: Any, **more: Any) -> Pool:
    """Return the samples that a run reads."""
    name = data_name(data, **more)
    found: Pool = SOURCES.brought(name).read(None)
    return found


def test_words_as_labels_of_a_dataset() -> None:
    found = pool(Labelled(lambda label: ["cat", "dog"][label]))
    assert found.class_names == ("cat", "dog")
    assert found.labels.tolist() == Y.tolist()


@pytest.mark.parametrize("form", [float, torch.tensor, lambda label: torch.tensor([label])])
def test_whole_numbers_of_any_form(form: Callable[[int], Any]) -> None:
    assert pool(Labelled(form)).labels.tolist() == Y.tolist()


def test_names_of_the_classes_come_through_a_subset() -> None:
    whole = Labelled(int, np.array(["cat", "dog"]))
    assert pool(Subset(whole, range(10))).class_names == ("cat", "dog")


def test_class_names_order_words() -> None:
    words = np.array(["cat", "dog"])[Y]
    found = pool((X, words), class_names=np.array(["dog", "cat", "eel"]))
    assert found.class_names == ("dog", "cat", "eel")
    assert found.labels.tolist() == (1 - Y).tolist()
    with pytest.raises(DataError, match="'dog' is a label, and none of class_names"):
        pool((X, words), class_names=["cat"])


def test_clients_of_any_kind() -> None:
    mixed = np.array([7, "a"], dtype=object)[Y]
    clients = pool((X, Y, mixed)).clients
    assert clients is not None
    assert clients.tolist() == Y.tolist()


@pytest.mark.parametrize("cells", [Y.tolist(), (1.0 * Y).tolist()])
def test_whole_numbers_among_objects_are_numbers(cells: list[Any]) -> None:
    found = pool((X, np.array(cells, dtype=object)), class_names=["cat", "dog"])
    assert found.class_names == ("cat", "dog")
    assert found.labels.tolist() == Y.tolist()


def test_numbers_and_words_in_a_list_are_words() -> None:
    assert pool((X, [[7, "a"][label] for label in Y])).class_names == ("7", "a")


def test_a_data_set_may_have_a_shape() -> None:
    assert pool(Shaped(int)).labels.tolist() == Y.tolist()
    assert len(pool((Shaped(int), Shaped(int))).labels) == 2 * len(Y)


def test_parts_with_words_of_two_kinds() -> None:
    words = np.array(["cat", "dog"])[Y]
    assert pool(((X, words), (X, words.astype(object)))).class_names == ("cat", "dog")


def test_a_tensor_of_bfloat16() -> None:
    assert pool((torch.ones(20, 2).bfloat16(), Y)).inputs.dtype == np.float32


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Labelled(lambda label: label + 0.5), "something else than words or whole numbers"),
        (Labelled(lambda label: torch.eye(2)[label]), r"of one-hot rows, y\.argmax\(1\)"),
        (Labelled(lambda label: None), "sample 0 has no label"),
        (Broken(int), r"Broken: sample 3 cannot be read \(OSError: broken\)"),
        (((x for x in X), Y), r"its inputs are generator, and no array; .* list\(\.\.\.\)"),
        ((X, (y for y in Y)), "its labels are generator, and no array"),
        ((None, Y), "its inputs are NoneType, and no array"),
        (([[1, 2], [3]], [0, 1]), "its inputs have different shapes"),
        (
            ((X[:10], Y[:10]), (X[10:, :, :2], Y[10:])),
            r"samples of shapes \(1, 2, 4\), \(1, 4, 4\)",
        ),
        (((X[:10], Y[:10]), (X[10:], Y[10:].astype(str))), "words and numbers as labels"),
        ((np.ma.masked_less(X, 0), Y), "its inputs have masked values"),
        ((X, Y, [None, "a"] * 10), "sample 0 has no client"),
        ((X, Y, np.where(Y, np.nan, 1.0)), "sample 1 has no client"),
        ((X, Y, ["a", float("nan")] * 10), "sample 1 has no client"),
        ((X, ["a", float("nan")] * 10), "sample 1 has no label"),
        (Labelled(lambda label: float("nan") if label else "a"), "sample 1 has no label"),
        (((X, ["a", "b"] * 10), (X, ["a", float("nan")] * 10)), "sample 21 has no label"),
        ((X, np.where(Y, np.nan, 1.0)), "sample 1 has no label"),
    ],
)
def test_what_cannot_be_read_is_said(data: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        pool(data)


def test_tables_of_pandas() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X.reshape(20, -1), index=range(100, 120))
    found = pool((frame, pandas.Series(Y, dtype="Int64", index=range(100, 120))))
    assert found.labels.tolist() == Y.tolist()
    with pytest.raises(ConfigError, match=r"is DataFrame, which is none; give its labels, too"):
        pool(frame)
    with pytest.raises(DataError, match="sample 1 has no label"):
        pool((frame, pandas.Series([0, pandas.NA] * 10, dtype="Int64")))


@pytest.mark.parametrize("names", ["cat", 3])
def test_class_names_are_a_list(names: Any) -> None:
    with pytest.raises(ConfigError, match=r"class_names: are .*, and no list"):
        pool((X, Y), class_names=names)


def test_a_class_has_a_name_of_its_own() -> None:
    with pytest.raises(ConfigError, match="class_names: have 'a' twice"):
        pool((X, Y), class_names=["a", "b", "a"])


def test_data_that_name_their_classes_take_no_names() -> None:
    with pytest.raises(ConfigError, match="class_names: are of arrays and torch datasets"):
        data_name("fashion-sample", class_names=["a"])
