"""The manifest of a generator's folder: identity, and what is refused."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgeloop.errors import GeneratorError
from edgeloop.generators import manifest
from edgeloop.generators.manifest import MANIFEST, MAPPING, PARTS, SYNTHESIS
from tests.generators.tiny import write_tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest in place, as a person with an editor would."""
    content = json.loads((folder / MANIFEST).read_text())
    change(content)
    (folder / MANIFEST).write_text(json.dumps(content))


def refused(folder: Path) -> GeneratorError:
    with pytest.raises(GeneratorError) as caught:
        manifest.read(folder)
    assert "\n" not in str(caught.value)
    return caught.value


def test_what_is_written_is_read(folder: Path) -> None:
    fields = {"title": "Ours", "latent_dim": 4, "noise_dim": 2, "shape": (1, 2, 3), "sphere": 1}
    written = manifest.write(folder, name="ours", **fields)
    assert manifest.read(folder) == written
    assert (written.name, written.title, written.shape) == ("ours", "Ours", (1, 2, 3))
    assert (written.classes, written.sphere, written.schema_version) == (0, 1, 1)
    assert dict(written.sha256) == {part: manifest.digest(folder / part) for part in PARTS}


def test_the_identity_is_the_files_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    identity = manifest.read(folder).identity
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    edit(copy, lambda content: content.update(name="other", title="Other", licence="none"))
    assert manifest.read(copy).identity == identity
    assert manifest.read(write_tiny(tmp_path / "again")).identity == identity
    assert manifest.read(write_tiny(tmp_path / "other", seed=1)).identity != identity


@pytest.mark.parametrize("part", PARTS)
def test_the_identity_is_of_both_files(folder: Path, tmp_path: Path, part: str) -> None:
    identity = manifest.read(folder).identity
    other = write_tiny(tmp_path / "other", seed=1)
    shutil.copyfile(other / part, folder / part)
    edit(folder, lambda content: content["sha256"].update({part: manifest.digest(folder / part)}))
    assert identity != manifest.read(folder).identity != manifest.read(other).identity


def test_the_identity_by_hand(folder: Path) -> None:
    """It stands in every run's record: another way to compute it would orphan those."""
    one, other = (hashlib.sha256((folder / part).read_bytes()).hexdigest() for part in PARTS)
    text = f"mapping.onnx {one}\nsynthesis.onnx {other}\n"
    assert manifest.read(folder).identity == hashlib.sha256(text.encode()).hexdigest()


def test_a_folder_without_a_manifest(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        error = refused(place)
        assert (error.field, error.problem) == (str(place), "holds no generator.json")
        assert "`edgeloop generator list`" in error.remedy


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"colour": 3}, "colour: there is no such key"),
        ({"latent_dim": 0}, "latent_dim: 0 is too small"),
        ({"noise_dim": "wide"}, "noise_dim: 'wide' is no whole number"),
        ({"classes": -1}, "classes: -1 is too small"),
        ({"shape": [2, 8, 8]}, "shape.0: 2 is not allowed here"),
        ({"shape": [3, 8]}, "shape.2: is missing"),
        ({"schema_version": 2}, "schema_version: 2 is not allowed here"),
        ({"sphere": 99}, "sphere is wider than the latent's"),
        ({"name": "a/b"}, "name: 'a/b' is not allowed here"),
        ({"sha256": {MAPPING: "0" * 63}}, f"sha256.{MAPPING}: '0000"),
        ({"sha256": {"weights.onnx": "0" * 64}}, "sha256.weights.onnx: there is no 'weights.onnx'"),
    ],
)
def test_a_wrong_key_is_named(folder: Path, change: dict[str, Any], problem: str) -> None:
    edit(folder, lambda content: content.update(change))
    error = refused(folder)
    assert error.field == str(folder / MANIFEST)
    assert error.problem.startswith(problem)
    assert error.remedy == "import it again"


@pytest.mark.parametrize("key", ["name", "latent_dim", "noise_dim", "shape", "sha256"])
def test_a_missing_key_is_named(folder: Path, key: str) -> None:
    edit(folder, lambda content: content.pop(key))
    assert refused(folder).problem == f"{key}: is missing"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"\0"])
def test_a_file_that_is_no_json(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    assert refused(folder).problem.startswith("is no JSON")


def test_a_manifest_that_is_no_object(folder: Path) -> None:
    (folder / MANIFEST).write_text("[]")
    assert refused(folder).problem == "[] is no table"


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_file(folder: Path, part: str) -> None:
    (folder / part).unlink()
    error = refused(folder)
    assert (error.field, error.problem) == (str(folder / part), "is not there")
    assert error.remedy == "import or fetch the generator again"


def test_a_file_that_the_manifest_does_not_name(folder: Path) -> None:
    edit(folder, lambda content: content["sha256"].pop(SYNTHESIS))
    error = refused(folder)
    assert error.field == str(folder / SYNTHESIS)
    assert "is not the file that the manifest names" in error.problem


def test_the_files_cannot_be_exchanged(folder: Path) -> None:
    (folder / MAPPING).rename(folder / "kept")
    (folder / SYNTHESIS).rename(folder / MAPPING)
    (folder / "kept").rename(folder / SYNTHESIS)
    assert refused(folder).field == str(folder / MAPPING)


def test_a_wrong_manifest_is_not_written(folder: Path) -> None:
    before = (folder / MANIFEST).read_bytes()
    with pytest.raises(ValidationError, match="latent_dim"):
        manifest.write(folder, name="x", latent_dim=0, noise_dim=1, shape=(1, 1, 1))
    assert (folder / MANIFEST).read_bytes() == before
