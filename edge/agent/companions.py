"""What is beside a device's classifier, made of it: for pictures of any size, in int8, its card.

    model.onnx            in use: pixels or values as floats, in batches
    model.picture.onnx    the same for one picture of any size, uint8 (of classifiers of pictures)
    model.int8.onnx       the same in whole numbers, where the device's file asks for it
    model.md              what it is

Each says by its SHA-256 which `model.onnx` it was made of: what a crash leaves of another one is
made again, and what cannot be made again is removed.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge.agent.model_card import CARD, card
from edge.agent.predict import KEY
from edge.agent.store import MODEL
from edgeloop.data import DeviceSamples
from edgeloop.errors import EdgeloopError
from edgeloop.runtime import atomic_files

if TYPE_CHECKING:
    from onnx import ModelProto

log = logging.getLogger(__name__)

PICTURE, INT8 = "model.picture.onnx", "model.int8.onnx"
SOURCE = KEY + "made_of_sha256"


@dataclass(frozen=True)
class Companions:
    """Keeps up what is beside a device's classifier.

    Attributes:
        folder: of the device.
        samples: its own, which a form in int8 is calibrated by.
        int8: whether there shall be one.
    """

    folder: Path
    samples: DeviceSamples
    int8: bool = False

    def write(self) -> None:
        """Make what is missing, or of another model; what cannot be made is logged, and removed."""
        if not (self.folder / MODEL).exists() or (files := self._stale()) is None:
            return
        try:
            import onnx

            digest = atomic_files.digest(self.folder / MODEL)
            model = onnx.load(self.folder / MODEL)
            metadata = {entry.key: entry.value for entry in model.metadata_props}
            made = self._made(model, {SOURCE: digest})
            made[CARD] = card(metadata, digest, sorted(made)).encode()
            for name, content in made.items():
                atomic_files.write(self.folder / name, content)
            files = [name for name in files if name not in made]
        except (EdgeloopError, ImportError, OSError, ValueError, LookupError) as error:
            log.warning("what is beside %s is not written: %s", MODEL, error)
        for name in files:
            (self.folder / name).unlink(missing_ok=True)

    def _stale(self) -> list[str] | None:
        """Return the names of all files; None if they are of the model that is in use."""
        digest = atomic_files.digest(self.folder / MODEL).encode()
        names = [PICTURE, INT8, CARD]
        found = {name: _content(self.folder / name) for name in names}
        current = all(content is None or digest in content for content in found.values())
        whole = found[CARD] is not None and (self.int8 or found[INT8] is None)
        return None if current and whole else names

    def _made(self, model: "ModelProto", more: Mapping[str, str]) -> dict[str, bytes]:
        from edge.agent import picture_form

        made = self._quantized(more) if self.int8 else {}
        if picture_form.is_possible(model):
            made[PICTURE] = picture_form.of_pictures(model, more)
        return made

    def _quantized(self, more: Mapping[str, str]) -> dict[str, bytes]:
        from edge.agent import int8_form

        data = self.samples.data
        held = readable(data.test.inputs, self.samples.pixels), data.test.labels
        train = readable(data.train.inputs, self.samples.pixels)
        found = int8_form.quantized(self.folder / MODEL, train, held, more)
        if found.content is None:
            log.warning("no %s: %s", INT8, found.why)
            return {}
        text = "%s: %.4f of %d test samples right, %.4f in floats"
        log.info(text, INT8, found.accuracy, found.samples, found.before)
        return {INT8: found.content}


def readable(inputs: NDArray[Any], pixels: bool) -> NDArray[np.float32]:
    """Return a device's samples as an exported classifier takes them.

    Args:
        inputs: samples (N, *shape), pixels in [-1, 1].
        pixels: whether they are pixels, which the classifier takes as 0 to 255.
    """
    return np.asarray((inputs + 1) * 127.5 if pixels else inputs, np.float32)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
