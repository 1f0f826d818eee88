"""What a round's messages hold: counted in files, and by formula."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from edgeloop import data
from edgeloop.data import Partition, Pool
from simulations.reproduce import counting


def test_numbers_of_a_broadcast_by_hand(tmp_path: Path) -> None:
    known = np.array([True, False, True])
    arrays: dict[str, Any] = {"known_C": known, "prototypes_CD": np.zeros((3, 5), np.float32)}
    safetensors.numpy.save_file(arrays, tmp_path / "prototypes.safetensors")
    assert counting.count_downloaded(tmp_path) == 2 * 5
    arrays = {"images_NP": np.zeros((2, 7), np.uint8), "latents_NH": np.zeros((2, 3), np.float16)}
    arrays["labels_N"] = np.zeros(2, np.int64)
    safetensors.numpy.save_file(arrays, tmp_path / "prototypes.safetensors")
    assert counting.count_downloaded(tmp_path) == 14 + 6


def test_formulas_give_the_papers_numbers() -> None:
    """Table 5 of FedKTL: 20 clients, 100 classes, K = H = 512, 3 x 32 x 32 pixels."""
    facts = {"M": 20, "C": 100, "K": 512, "P": 3072, "H": 512, "W": 924_708, "S": 895}
    facts["G"] = counting.generator_weights(100, 512)
    assert facts["G"] == 331_776
    found = {
        name: tuple(round(count(facts) / 1e6, 2) for _, count in both)
        for name, both in counting.formulas().items()
    }
    assert found["lgfedavg"] == (1.03, 1.03)
    assert found["fedgen"] == (1.03, 7.66)
    assert found["fedgh"] == (0.46, 1.03)
    assert found["fml"] == (18.49, 18.49)  # printed as 18.50
    assert found["feddistill"] == (0.09, 0.20)
    assert found["fedproto"] == found["fedtgp"] == (0.46, 1.02)
    assert found["fedktl"] == (0.09, 7.17)


def test_classes_of_full_batches_alone() -> None:
    pool = Pool(np.zeros((40, 1, 8, 8), np.uint8), np.arange(40) % 2, ("a", "b"))
    federation = data.split(pool, Partition("iid", clients=2, balanced=True))  # 15 to train on
    assert counting.trained_classes(federation, 10) == 4
    assert counting.trained_classes(federation, 16) == 0


def test_the_paragraph() -> None:
    row = {"formula_up": "K S", "up": 0.46, "formula_down": "M K C", "down": 1.024}
    found = counting.markdown({"facts": {"M": 20, "W": 924_708}, "rows": {"fedproto": row}})
    assert "with M = 20, W = 924,708:" in found
    assert "| FedProto | K S | 0.46 | M K C | 1.02 |" in found
    assert counting.markdown(None) == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0", 0), ("M K C", 42), ("M C C", 18), ("M (K + 1) C", 48)),
        *(("M ((K + 1) C + M)", 52), ("(K + 1) (C + 1)", 32), ("2 M + K", 11)),
    ],
)
def test_a_formula_is_read_as_it_is_written(text: str, value: int) -> None:
    written, count = counting.formula(text)
    assert written == text
    assert count({"M": 2, "K": 7, "C": 3}) == value


@pytest.mark.parametrize("text", ["m K", "K ** 2", "K - 1", "__import__('os')"])
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no formula"):
        counting.formula(text)
