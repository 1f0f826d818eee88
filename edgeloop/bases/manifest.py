"""A base's folder: one ONNX file, and a manifest that says what it is.

features.onnx   inputs (N, *shape) float32 -> features (N, D) float32
base.json       this manifest
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeloop.errors import BaseError
from edgeloop.protocol.task import Name, Size
from edgeloop.runtime import atomic_files, wording

GRAPH, MANIFEST = "features.onnx", "base.json"
INPUTS, FEATURES = "inputs", "features"
KEY, VARIANCES = "edgeloop.", "variances"
"""In the graph's metadata: the variance of each dimension over the images that it was made with."""

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
LARGEST_DIMS = 4096
Dims = Annotated[int, Field(ge=1, le=LARGEST_DIMS)]
_REMEDY = "build or fetch it again"


class Manifest(BaseModel):
    """What a base's folder holds.

    Attributes:
        schema_version: of this manifest.
        name: short, as its users write it.
        title: in a few words.
        source: where its numbers come from.
        licence: of them.
        shape: of one input, channels first.
        dims: D.
        generator: the identity of the generator whose images it was computed from; "" if none.
        recipe: how it was computed; empty for an imported one.
        sha256: of the graph, which is the base's identity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: Name
    title: str = ""
    source: str = ""
    licence: str = ""
    shape: Annotated[tuple[Size, ...], Field(min_length=1, max_length=4)]
    dims: Dims
    generator: str = ""
    recipe: Mapping[str, bool | int | float | str] = Field(default_factory=dict)
    sha256: Digest

    @property
    def identity(self) -> str:
        """SHA-256 of the graph."""
        return self.sha256


def read(folder: Path) -> tuple[Manifest, bytes]:
    """Read a base's manifest and graph.

    Raises:
        BaseError: if there is none, it is wrong, or the graph is missing or another one.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
        graph = (folder / GRAPH).read_bytes()
    except OSError as error:
        missing = Path(str(error.filename)).name
        problem = f"holds no {missing} that can be read ({error.strerror})"
        remedy = "name a base's folder; `edgeloop base list` shows what there is"
        raise BaseError(str(folder), problem, remedy) from error
    except ValidationError as error:
        problem = wording.first_problem(error.errors())
        raise BaseError(str(path), problem, _REMEDY) from error
    if digest(graph) != manifest.sha256:
        problem = "is not the file that the manifest names: its SHA-256 is another"
        raise BaseError(str(folder / GRAPH), problem, _REMEDY)
    return manifest, graph


def write(folder: Path, graph: bytes, **fields: object) -> Manifest:
    """Write a base's folder, which exists.

    Args:
        folder: of the base.
        graph: its ONNX file's bytes.
        fields: the manifest's, without `sha256`.

    Raises:
        ValidationError: if a field is wrong.
    """
    manifest = Manifest.model_validate({**fields, "sha256": digest(graph)})
    atomic_files.write(folder / GRAPH, graph)
    atomic_files.write_json(folder / MANIFEST, json.loads(manifest.model_dump_json()))
    return manifest


def digest(graph: bytes) -> str:
    """Return a graph's SHA-256, hexadecimal: a base's identity."""
    return hashlib.sha256(graph).hexdigest()
