from pathlib import Path

import pytest

from benchmarks import generator as bench
from benchmarks.generator import CACHED, BenchmarkedGenerator
from benchmarks.processes import resident
from edgeloop.errors import ConfigError, GeneratorError
from edgeloop.generators.onnx import OnnxGenerator
from tests.generators.tiny import write_tiny


def test_percentiles_are_of_calls_that_were_made() -> None:
    seconds = [number / 1000 for number in range(1, 101)]
    found = bench.percentiles({10: seconds})
    assert found == {"10": {"p50": pytest.approx(51.0), "p99": pytest.approx(100.0)}}


def test_each_is_timed_as_often_as_the_others(tmp_path: Path) -> None:
    local = OnnxGenerator(write_tiny(tmp_path))
    contestants = [BenchmarkedGenerator("in process", local), BenchmarkedGenerator("Triton", local)]
    bench.time_interleaved(contestants, calls=3)
    assert [each.name for each in contestants] == ["in process", "Triton", CACHED]
    for each in contestants:
        assert {size: len(times) for size, times in each.seconds.items()} == {1: 3, 10: 3, 100: 3}


def test_wrong_images_are_not_timed(tmp_path: Path) -> None:
    contestants = [
        BenchmarkedGenerator(name, OnnxGenerator(write_tiny(tmp_path / name, seed=seed)))
        for seed, name in enumerate(("in process", "Triton"))
    ]
    with pytest.raises(GeneratorError, match="images: differ from those in process"):
        bench.time_interleaved(contestants, calls=1)


def test_memory_is_counted_in_mebibytes() -> None:
    before = resident(None)
    held = bytearray(64 << 20)
    assert 60 < resident(None) - before < 70
    assert len(held) == 64 << 20


def test_too_few_calls() -> None:
    with pytest.raises(ConfigError, match="calls: 99 is below 100"):
        bench.main(calls=99)
