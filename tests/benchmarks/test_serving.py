"""The measurement of `edgeloop serve`: each kind of request is asked and answered."""

import pytest

from benchmarks import serving


def test_it_measures_each_kind_of_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models = (("cnn-strided3", (1, 16, 16), False), ("cnn-strided3", (3, 16, 16), True))
    monkeypatch.setattr(serving, "MODELS", models)
    monkeypatch.setattr(serving, "SECONDS", 0.05)
    serving.serving(turns=1)
    table = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    asked = [(row[1], row[2]) for row in table]
    assert asked == [
        ("one input", "1"),
        ("one input", "8"),
        ("16 inputs", "1"),
        ("64 inputs", "1"),
        ("a photo of 640 x 480", "1"),
        ("a photo of 640 x 480", "8"),
    ]
    assert all(float(row[4].replace(",", "")) > 0 for row in table)
