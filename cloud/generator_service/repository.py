"""Writes a Triton model repository for a generator: two models, each with its versions.

NAME-mapping/
    config.pbtxt          of all versions; holds each version's manifest
    1/model.onnx          the mapping
    1/generator.json      the manifest
    1/model.py            for the Python backend: `triton_model.py`
NAME-synthesis/           the same of the synthesis
"""

import shutil
from pathlib import Path

from cloud.generator_service import pbtxt
from cloud.generator_service.settings import Serving
from edgeloop.errors import GeneratorError
from edgeloop.generators import manifest
from edgeloop.generators.manifest import MANIFEST, MAPPING, SYNTHESIS, Manifest
from edgeloop.protocol import wire
from edgeloop.runtime import atomic_files


def write(
    folder: Path, repository: Path, name: str, *, version: int = 1, serving: Serving | None = None
) -> Manifest:
    """Write one version of a generator's models; written again, it changes only their settings.

    Each file is whole whenever a server looks, and a version is there before `config.pbtxt` names
    it. A version is never another generator's: clients hold to it, and a server's response cache
    knows its answers by nothing but the model's name, its version and the request.

    Args:
        folder: of the generator.
        repository: to write into; made if it is not there.
        name: of the generator on the server.
        version: beside others that may be there; 1 or more.
        serving: how to run it; as `Serving` says by default.

    Raises:
        GeneratorError: if the folder holds no generator, a field is wrong, the version is another
            generator's by now, or the versions beside it are of other sizes.
        RunError: if the repository cannot be written.
    """
    described = manifest.read(folder)
    _check(name, version)
    for model in _models(repository, name):
        _check_versions(model, version, described)
    with atomic_files.writing(repository):
        for model, part in _models(repository, name).items():
            _write_model(model, folder / part, version, serving or Serving())
    return described


def remove(repository: Path, name: str) -> list[str]:
    """Remove a generator's models, all versions; a server that has them loaded keeps them.

    Args:
        repository: to remove from.
        name: of the generator on the server.

    Returns:
        the models that were there.

    Raises:
        GeneratorError: if the name is none, or a file cannot be removed.
    """
    _check(name, version=1)
    found = [model for model in _models(repository, name) if model.is_dir()]
    for model in found:
        try:
            shutil.rmtree(model)
        except OSError as error:
            remedy = "make the repository writable"
            raise GeneratorError(str(model), f"cannot be removed ({error})", remedy) from error
    return [model.name for model in found]


def _models(repository: Path, name: str) -> dict[Path, str]:
    """Return the folder of each model with the file that it serves; the mapping first.

    A client wants a version of both, and the synthesis is the one that is taken up last.
    """
    return {repository / f"{name}-mapping": MAPPING, repository / f"{name}-synthesis": SYNTHESIS}


def versions(model: Path) -> dict[int, Manifest]:
    """Return the versions in a model's folder, oldest first."""
    found = [path for path in model.glob(f"*/{MANIFEST}") if path.parent.name.isdecimal()]
    return {
        int(path.parent.name): Manifest.model_validate_json(path.read_bytes())
        for path in sorted(found, key=lambda path: int(path.parent.name))
    }


def _check(name: str, version: int) -> None:
    if not wire.NAME.fullmatch(name):
        remedy = "use letters, digits, dots, dashes and underscores"
        raise GeneratorError("name", f"{name!r} is none", remedy)
    if version < 1:
        raise GeneratorError("version", f"{version} is below 1", "give 1 or more")


def _check_versions(model: Path, version: int, new: Manifest) -> None:
    for number, other in versions(model).items():
        if number == version and other.identity != new.identity:
            problem = f"{version} of {model.name} is another generator ({other.identity[:12]}...)"
            remedy = f"write this one as version {max(versions(model)) + 1}, or under another name"
            raise GeneratorError("version", problem, remedy)
        if _sizes(other) != _sizes(new):
            problem = f"version {number} of {model.name} has other latents, classes or images"
            raise GeneratorError("name", problem, "serve this generator under another name")


def _sizes(described: Manifest) -> tuple[object, ...]:
    """Return what all versions of a model must share: Triton's configuration has it once."""
    return (
        described.latent_dim,
        described.noise_dim,
        bool(described.classes),
        tuple(described.shape),
    )


def _write_model(model: Path, part: Path, version: int, serving: Serving) -> None:
    model.mkdir(parents=True, exist_ok=True)
    place = model / str(version)
    if not place.is_dir():
        building = model / f".{version}.new"  # a server overlooks what is no number
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        shutil.copyfile(part, building / "model.onnx")
        shutil.copyfile(part.with_name(MANIFEST), building / MANIFEST)
        building.rename(place)
    _configure(model, part.name, serving)


def _configure(model: Path, part: str, serving: Serving) -> None:
    """Write what tells a server of all versions in a model's folder."""
    described = versions(model)
    if serving.backend == "python":
        program = Path(__file__).with_name("triton_model.py").read_bytes()
        for number in described:
            atomic_files.write(model / str(number) / "model.py", program)
    inputs, output = pbtxt.arrays(part, described[max(described)])
    parameters = pbtxt.settings(serving) | pbtxt.identities(described)
    text = pbtxt.config(model.name, inputs, output, parameters, serving)
    atomic_files.write(model / "config.pbtxt", text.encode("ascii"))
