import json
from pathlib import Path
from typing import Any

import pytest

from cloud.generator_service import repository
from cloud.generator_service.settings import Serving
from edgeloop.errors import ConfigError, GeneratorError, RunError
from edgeloop.generators import manifest
from edgeloop.runtime import config
from tests.generators.tiny import write_tiny

MAPPING = """\
name: "faces-mapping"
backend: "python"
max_batch_size: 64
input { name: "noise" data_type: TYPE_FP32 dims: [9] }
output { name: "latents" data_type: TYPE_FP32 dims: [8] }
instance_group { kind: KIND_CPU count: 1 }
dynamic_batching { preferred_batch_size: [16, 32, 64] max_queue_delay_microseconds: 100 }
model_warmup { name: "1 at once" batch_size: 1 inputs { key: "noise" \
value { data_type: TYPE_FP32 dims: [9] zero_data: true } } }
model_warmup { name: "64 at once" batch_size: 64 inputs { key: "noise" \
value { data_type: TYPE_FP32 dims: [9] zero_data: true } } }
response_cache { enable: true }
version_policy { latest { num_versions: 2 } }
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
parameters { key: "inter_op_thread_count" value { string_value: "1" } }
parameters { key: "enable_mem_arena" value { string_value: "1" } }
parameters { key: "enable_mem_pattern" value { string_value: "0" } }
"""

OTHERWISE = Serving(
    backend="onnxruntime",
    instances=3,
    gpu=True,
    max_batch_size=2,
    delay_microseconds=0,
    threads=4,
    arena=False,
    memory_pattern=True,
    cache=False,
    versions=1,
)

SYNTHESIS = """\
name: "faces-synthesis"
backend: "onnxruntime"
max_batch_size: 2
input { name: "latents" data_type: TYPE_FP32 dims: [8] }
output { name: "images" data_type: TYPE_UINT8 dims: [3, 8, 8] }
instance_group { kind: KIND_GPU count: 3 }
dynamic_batching { preferred_batch_size: [1, 2] max_queue_delay_microseconds: 0 }
model_warmup { name: "1 at once" batch_size: 1 inputs { key: "latents" \
value { data_type: TYPE_FP32 dims: [8] zero_data: true } } }
model_warmup { name: "2 at once" batch_size: 2 inputs { key: "latents" \
value { data_type: TYPE_FP32 dims: [8] zero_data: true } } }
response_cache { enable: false }
version_policy { latest { num_versions: 1 } }
parameters { key: "intra_op_thread_count" value { string_value: "4" } }
parameters { key: "inter_op_thread_count" value { string_value: "1" } }
parameters { key: "enable_mem_arena" value { string_value: "0" } }
parameters { key: "enable_mem_pattern" value { string_value: "1" } }
"""


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _config(model: Path) -> str:
    return (model / "config.pbtxt").read_text(encoding="ascii")


def test_two_models_with_their_files(tmp_path: Path) -> None:
    tiny, models = write_tiny(tmp_path / "tiny"), tmp_path / "models"
    described = repository.write(tiny, models, "faces")
    assert _files(models) == [
        *(f"faces-mapping/{each}" for each in _PYTHON),
        *(f"faces-synthesis/{each}" for each in _PYTHON),
    ]
    for part in ("mapping", "synthesis"):
        copy = models / f"faces-{part}" / "1" / "model.onnx"
        assert copy.read_bytes() == (tiny / f"{part}.onnx").read_bytes()
    assert described == manifest.read(tiny)


_PYTHON = ("1/generator.json", "1/model.onnx", "1/model.py", "config.pbtxt")


def test_a_repository_that_cannot_be_written(tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file: cannot be written \(Not a directory\); name a"):
        repository.write(tiny, tmp_path / "file", "faces")


def test_the_configuration_of_the_mapping(tmp_path: Path) -> None:
    described = repository.write(write_tiny(tmp_path / "tiny"), tmp_path, "faces")
    text = _config(tmp_path / "faces-mapping")
    assert text.startswith(MAPPING)
    identity, told = text.removeprefix(MAPPING).splitlines()
    assert identity == _parameter("edgeloop.identity.1", json.dumps(described.identity))
    content = json.loads((tmp_path / "tiny" / "generator.json").read_text())
    assert told == _parameter("edgeloop.manifest.1", json.dumps(json.dumps(content)))


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: {value} }} }}'


def test_the_configuration_of_the_synthesis_with_other_settings(tmp_path: Path) -> None:
    repository.write(write_tiny(tmp_path / "tiny"), tmp_path, "faces", serving=OTHERWISE)
    assert _config(tmp_path / "faces-synthesis").startswith(SYNTHESIS)
    assert "faces-synthesis/1/model.py" not in _files(tmp_path)  # that backend needs no program


def test_a_conditional_generator_reads_one_class_a_sample(tmp_path: Path) -> None:
    repository.write(write_tiny(tmp_path / "tiny", classes=5), tmp_path, "faces")
    lines = _config(tmp_path / "faces-mapping").splitlines()
    assert 'input { name: "classes" data_type: TYPE_INT64 dims: 1 reshape { shape: [] } }' in lines
    zeros = 'key: "classes" value { data_type: TYPE_INT64 dims: [1] zero_data: true }'
    assert sum(zeros in line for line in lines) == 2


def test_a_title_in_any_letters_stays_ascii(tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    content = json.loads((tiny / "generator.json").read_text())
    (tiny / "generator.json").write_text(json.dumps({**content, "title": 'a "ζ" \\ b'}))
    repository.write(tiny, tmp_path, "faces")
    assert r"a \\\"\\u03b6\\\" \\\\ b" in _config(tmp_path / "faces-mapping")


def test_a_second_version_beside_the_first(tmp_path: Path) -> None:
    first, second = write_tiny(tmp_path / "a"), write_tiny(tmp_path / "b", seed=1)
    repository.write(first, tmp_path, "faces")
    before = (tmp_path / "faces-mapping" / "1" / "model.onnx").read_bytes()
    repository.write(second, tmp_path, "faces", version=2)
    assert (tmp_path / "faces-mapping" / "1" / "model.onnx").read_bytes() == before
    for part in ("mapping", "synthesis"):
        text = _config(tmp_path / f"faces-{part}")
        for number, folder in ((1, first), (2, second)):
            identity = json.dumps(manifest.read(folder).identity)
            assert _parameter(f"edgeloop.identity.{number}", identity) in text.splitlines()
    assert list(repository.versions(tmp_path / "faces-mapping")) == [1, 2]


def test_ten_comes_after_nine(tmp_path: Path) -> None:
    for version in (10, 9):
        tiny = write_tiny(tmp_path / str(version), seed=version)
        repository.write(tiny, tmp_path / "models", "faces", version=version)
    assert list(repository.versions(tmp_path / "models" / "faces-mapping")) == [9, 10]


def test_written_again_only_the_settings_change(tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    repository.write(tiny, tmp_path, "faces")
    model = tmp_path / "faces-synthesis"
    before = (model / "1" / "model.onnx").stat().st_mtime_ns
    repository.write(tiny, tmp_path, "faces", serving=Serving(instances=2))
    assert "kind: KIND_CPU count: 2" in _config(model)
    assert (model / "1" / "model.onnx").stat().st_mtime_ns == before


def test_a_version_never_becomes_another_generator(tmp_path: Path) -> None:
    repository.write(write_tiny(tmp_path / "a"), tmp_path, "faces")
    before = {name: (tmp_path / name).read_bytes() for name in _files(tmp_path)}
    other = write_tiny(tmp_path / "b", seed=1)
    with pytest.raises(GeneratorError) as caught:
        repository.write(other, tmp_path, "faces")
    assert caught.value.field == "version"
    assert caught.value.problem.startswith("1 of faces-mapping is another generator (")
    assert caught.value.remedy == "write this one as version 2, or under another name"
    assert all((tmp_path / name).read_bytes() == content for name, content in before.items())


@pytest.mark.parametrize(
    "sizes", [{"latent_dim": 4}, {"classes": 3}, {"shape": (1, 8, 8)}], ids=str
)
def test_versions_have_the_same_sizes(tmp_path: Path, sizes: dict[str, Any]) -> None:
    repository.write(write_tiny(tmp_path / "a"), tmp_path, "faces")
    with pytest.raises(
        GeneratorError, match=r"^name: version 1 of faces-mapping has other latents"
    ):
        repository.write(write_tiny(tmp_path / "b", **sizes), tmp_path, "faces", version=2)


def test_what_a_crash_left_is_written_anew(tmp_path: Path) -> None:
    left = tmp_path / "faces-mapping" / ".1.new"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"half")
    repository.write(write_tiny(tmp_path / "tiny"), tmp_path, "faces")
    whole = tmp_path / "faces-mapping" / "1" / "model.onnx"
    assert whole.read_bytes() == (tmp_path / "tiny" / "mapping.onnx").read_bytes()
    assert not left.exists()


@pytest.mark.parametrize("name", ["", "a/b", "../a", "a b", "-a", "ä"])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(GeneratorError, match=r"^name: "):
        repository.write(write_tiny(tmp_path / "tiny"), tmp_path / "models", name)
    assert not (tmp_path / "models").exists()


def test_a_version_below_one(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match=r"^version: 0 is below 1; give 1 or more$"):
        repository.write(write_tiny(tmp_path / "tiny"), tmp_path, "faces", version=0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"instances": 0}, "instances: 0 is too small; give 1 or more"),
        ({"max_batch_size": 0}, "max_batch_size: 0 is too small; give 1 or more"),
        ({"delay_microseconds": -1}, "delay_microseconds: -1 is too small; give 0 or more"),
        ({"threads": 0}, "threads: 0 is too small; give 1 or more"),
        ({"versions": 0}, "versions: 0 is too small; give 1 or more"),
        ({"backend": "tensorrt"}, "backend: there is no 'tensorrt'"),
    ],
)
def test_settings_that_no_server_can_run(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config.parse(wrong, Serving, "serve")


def test_a_damaged_generator_is_not_served(tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    (tiny / "synthesis.onnx").write_bytes(b"other")
    with pytest.raises(GeneratorError, match="is not the file that the manifest names"):
        repository.write(tiny, tmp_path / "models", "faces")
    assert not (tmp_path / "models").exists()


def test_what_is_removed_is_gone_and_nothing_else(tmp_path: Path) -> None:
    tiny, models = write_tiny(tmp_path / "tiny"), tmp_path / "models"
    for name in ("faces", "others"):
        repository.write(tiny, models, name)
    assert repository.remove(models, "faces") == ["faces-mapping", "faces-synthesis"]
    assert sorted(path.name for path in models.iterdir()) == ["others-mapping", "others-synthesis"]
    assert repository.remove(models, "faces") == []
    with pytest.raises(GeneratorError, match="name"):
        repository.remove(models, "../others")
