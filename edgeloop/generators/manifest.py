"""A generator's folder: two ONNX files, and a manifest that says what they are.

mapping.onnx     noise (N, Z) [and classes (N,)] -> latents (N, H)
synthesis.onnx   latents (N, H) -> images (N, channels, height, width), bytes
generator.json   this manifest
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgeloop.errors import GeneratorError
from edgeloop.protocol.task import Name, Size
from edgeloop.runtime import atomic_files, onnx_graphs, wording

MAPPING, SYNTHESIS, MANIFEST = "mapping.onnx", "synthesis.onnx", "generator.json"
PARTS = (MAPPING, SYNTHESIS)
digest = atomic_files.digest
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """What a generator's folder holds.

    Attributes:
        schema_version: of this manifest.
        name: short, as its users write it.
        title: in a few words.
        source: where its weights come from.
        licence: of its weights.
        latent_dim: H.
        noise_dim: Z, the width of the noise that the mapping reads.
        classes: of a conditional generator; 0 if it is none.
        sphere: how many of a latent's first entries lie on a sphere; 0 if none do.
        shape: of one image, channels first.
        sha256: of the two ONNX files, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: Name
    title: str = ""
    source: str = ""
    licence: str = ""
    latent_dim: Size
    noise_dim: Size
    classes: Annotated[int, Field(ge=0, lt=2**31)] = 0
    sphere: Annotated[int, Field(ge=0)] = 0
    shape: tuple[Literal[1, 3], Size, Size]
    sha256: Mapping[Literal["mapping.onnx", "synthesis.onnx"], Digest]

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        if self.sphere > self.latent_dim:
            raise ValueError(f"sphere is wider than the latent's {self.latent_dim} entries")
        return self

    @property
    def identity(self) -> str:
        """SHA-256 over both files' SHA-256."""
        lines = "".join(f"{part} {self.sha256[part]}\n" for part in PARTS)  # type: ignore[index]  # PARTS are the keys
        return hashlib.sha256(lines.encode("ascii")).hexdigest()


def read(folder: Path) -> Manifest:
    """Read a generator's manifest, and check that the files are those it names.

    Raises:
        GeneratorError: if there is none, it is wrong, or a file is missing or another one.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        remedy = "name a generator's folder; `edgeloop generator list` shows what there is"
        raise GeneratorError(str(folder), f"holds no {MANIFEST}", remedy) from error
    except ValidationError as error:
        problem = wording.first_problem(error.errors())
        raise GeneratorError(str(path), problem, "import it again") from error
    for part in PARTS:
        _check(folder / part, manifest.sha256.get(part))  # type: ignore[call-overload]  # PARTS are the keys
    return manifest


def write(folder: Path, **fields: object) -> Manifest:
    """Write the manifest of the ONNX files in a folder; their SHA-256 is filled in.

    Args:
        folder: with both files in it.
        fields: the manifest's, without `sha256`.

    Raises:
        ValidationError: if a field is wrong.
    """
    digests = {part: digest(folder / part) for part in PARTS}
    manifest = Manifest.model_validate({**fields, "sha256": digests})
    atomic_files.write_json(folder / MANIFEST, json.loads(manifest.model_dump_json()))
    return manifest


def _check(path: Path, expected: str | None) -> None:
    if not path.is_file():
        raise GeneratorError(str(path), "is not there", "import or fetch the generator again")
    if digest(path) != expected:
        problem = "is not the file that the manifest names: its SHA-256 is another"
        raise GeneratorError(str(path), problem, "import or fetch the generator again")
    try:
        onnx_graphs.check(path.read_bytes())
    except ValueError as error:
        raise GeneratorError(str(path), f"cannot be run ({error})", "import it again") from error
