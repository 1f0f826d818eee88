"""A generator in this process, on onnxruntime.

Shape suffixes: N samples, H entries of a latent.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgeloop.errors import GeneratorError
from edgeloop.generator import Images, Latents, check_width, drawn_classes, noise
from edgeloop.generators import manifest
from edgeloop.generators.described import DescribedGenerator
from edgeloop.generators.manifest import MAPPING, SYNTHESIS

EXTERNAL = "session.model_external_initializers_file_folder_path"

BATCH = 64
"""Images a run: what is not an output is freed between runs, so that memory does not grow."""


class OnnxGenerator(DescribedGenerator):
    """A generator from its folder.

    Args:
        folder: with a manifest and both ONNX files; see `edgeloop.generators.manifest`.
        threads: that onnxruntime computes with.

    Raises:
        GeneratorError: if the folder holds no generator, or a file cannot be run.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.manifest = manifest.read(folder)
        self._folder = folder
        self._mapping = _session(folder / MAPPING, threads)
        self._synthesis = _session(folder / SYNTHESIS, threads)
        _check_width(folder / MAPPING, self._mapping, self.manifest.noise_dim)
        _check_width(folder / SYNTHESIS, self._synthesis, self.manifest.latent_dim)

    def sample_latents(self, count: int, seed: int) -> Latents:
        """Draw latents (N, H) from the prior."""
        inputs: dict[str, NDArray[Any]] = {"noise": noise(count, self.manifest.noise_dim, seed)}
        if self.manifest.classes:
            inputs["classes"] = drawn_classes(count, self.manifest.classes, seed)
        empty = np.empty((count, self.latent_dim), np.float32)
        return self._run(self._mapping, MAPPING, "latents", inputs, empty)

    def synthesize(self, latents_NH: Latents) -> Images:
        """Return the images (N, channels, height, width) of latents (N, H)."""
        latents_NH = np.asarray(latents_NH, np.float32)
        check_width(latents_NH, self.latent_dim)
        if not len(latents_NH):
            return np.zeros((0, *self.shape), np.uint8)
        parts = [latents_NH[start : start + BATCH] for start in range(0, len(latents_NH), BATCH)]
        return np.concatenate([self._images(part) for part in parts])

    def _images(self, latents_NH: Latents) -> Images:
        expected = np.empty((len(latents_NH), *self.shape), np.uint8)
        inputs = {"latents": latents_NH}
        return self._run(self._synthesis, SYNTHESIS, "images", inputs, expected)

    def _run(
        self,
        session: onnxruntime.InferenceSession,
        part: str,
        output: str,
        inputs: Mapping[str, NDArray[Any]],
        expected: NDArray[Any],
    ) -> NDArray[Any]:
        """Return what a model makes, which is an array such as is expected, or an error."""
        path = str(self._folder / part)
        try:
            found: NDArray[Any] = session.run([output], dict(inputs))[0]
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            raise GeneratorError(path, f"fails ({_reason(error)})", "import it again") from error
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            problem = f"makes {output} {found.shape} of {found.dtype}"
            problem += f", and the manifest says {expected.shape} of {expected.dtype}"
            raise GeneratorError(path, problem, "import it again")
        return found


def _check_width(path: Path, session: onnxruntime.InferenceSession, width: int) -> None:
    found = session.get_inputs()[0].shape[-1:]
    if found and isinstance(found[0], int) and found[0] != width:
        problem = f"reads {found[0]} entries, and the manifest says {width}"
        raise GeneratorError(str(path), problem, "import it again")


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised, and said once
    # Weights in files of their own are in nobody's checksum: there are none in such a folder.
    options.add_session_config_entry(EXTERNAL, os.devnull)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        problem = f"cannot be run ({_reason(error)})"
        raise GeneratorError(str(path), problem, "import it again") from error


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
