"""Classifies images with a model that a device exported; needs onnxruntime and Pillow, no torch.

onnxruntime is imported with the first model: an agent that waits takes 18 MB less without it.

Shape suffixes: B images, C classes.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edge.agent import images
from edgeloop.errors import EXIT_INPUT, ConfigError, ModelError, choose
from edgeloop.runtime import onnx_graphs, pictures
from edgeloop.runtime.logs import printable

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

KEY = "edgeloop."
INPUT, OUTPUT = "images", "scores"
PICTURE, FORM = "image", "form"
"""The input of the form that resizes in its graph, and the metadata that say so."""
LABEL, PROBABILITIES = "label", "probabilities"
CLASS_NAMES, SHAPE, PIXELS = "class_names", "shape", "pixels"
"""The metadata that every exported model has; the keys in the file start with `KEY`."""

Inputs = NDArray[np.float32] | Sequence[NDArray[np.uint8]]
"""What a model is asked about: one array, or pictures of any size."""

_BATCH = 64
_QUIET = 4
_REFUSALS = (
    "EPFail",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NoModel",
    "NoSuchFile",
    "NotImplemented",
    "RuntimeException",
)
_REMEDY = "give a model that an edgeloop device exported"


@dataclass(frozen=True)
class Exported:
    """A classifier that a device exported, ready to run.

    Attributes:
        path: its file.
        session: onnxruntime's, on one thread of the CPU.
        class_names: C of them.
        shape: of one input.
        pixels: whether it takes pixels, 0 to 255; else raw values.
        is_picture: whether it takes whole pictures, and resizes them in its graph.
    """

    path: Path
    session: "InferenceSession"
    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    pixels: bool
    is_picture: bool = False

    def fact(self, name: str) -> str | None:
        """Return what else its metadata tell, such as the run; None if they do not."""
        found: str | None = self.session.get_modelmeta().custom_metadata_map.get(KEY + name)
        return found

    def blank(self) -> Inputs:
        """Return a batch of one input, all zeros."""
        if self.is_picture:
            return [np.zeros((*self.shape[1:], 3), np.uint8)]
        return np.zeros((1, *self.shape), np.float32)

    def scores(self, inputs: Inputs) -> NDArray[np.float32]:
        """Return the scores (B, C) of inputs; the highest is the class.

        Args:
            inputs: float32 (B, *shape); of whole pictures, uint8 (height, width, 3) each.

        Raises:
            ModelError: if the model does not do what its metadata says.
        """
        if not self.is_picture:
            return self._run(INPUT, inputs, len(inputs))
        return np.concatenate([self._run(PICTURE, each, 1) for each in inputs])

    def _run(self, name: str, inputs: Any, count: int) -> NDArray[np.float32]:
        try:
            scores_BC = np.asarray(self.session.run([OUTPUT], {name: inputs})[0])
        except _refusals() as error:
            raise ModelError(str(self.path), f"cannot be run ({_line(error)})", _REMEDY) from error
        if scores_BC.shape != (count, len(self.class_names)):
            problem = f"has {len(self.class_names)} class names and scores {scores_BC.shape}"
            raise ModelError(str(self.path), problem, _REMEDY)
        return scores_BC.astype(np.float32, copy=False)


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Attributes:
        image: its path, as it was given.
        scores: of each class; minus infinity for one that the model does not know.
        ranking: the classes that have a score, best first; at least one.
    """

    image: str
    scores: tuple[float, ...]
    ranking: tuple[int, ...]


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop predict`.

    Raises:
        SystemExit: a command line that cannot be read, with exit code 2.
        ModelError: a model that is missing, broken, or of other origin.
        DataError: an image that is missing, broken, or does not fit the model.
    """
    options = _parser().parse_args(arguments)
    model = open_model(options.model)
    predictions = classify(model, options.images)
    if options.json:
        found = [_record(each, model.class_names, options.top) for each in predictions]
        text = json.dumps(found, indent=2, allow_nan=False)
    else:
        text = _table(predictions, model.class_names, options.top or 2)
    sys.stdout.write(printable(text) + "\n")
    return 0


def open_model(path: Path) -> Exported:
    """Open a model that `edge.agent.export` wrote.

    Raises:
        ModelError: a file that is missing, no ONNX model, or not one of ours.
    """
    try:
        content = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise ModelError(str(path), f"cannot be read ({error.strerror})", _REMEDY) from error
    if content is None:
        raise ModelError(str(path), "there is no such file", _REMEDY)
    session = _session(path, content)
    metadata = session.get_modelmeta().custom_metadata_map
    return Exported(
        path, session, *_facts(path, metadata), is_picture=metadata.get(KEY + FORM) == "picture"
    )


def _refusals() -> tuple[type[Exception], ...]:
    """Return what onnxruntime raises of a model that it does not take."""
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    return (ValueError, *(getattr(errors, name) for name in _REFUSALS))


def _session(path: Path, content: bytes) -> "InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET  # what it would log comes as an exception too
    try:
        onnx_graphs.check(content)
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _refusals() as error:
        raise ModelError(str(path), f"is no ONNX model ({_line(error)})", _REMEDY) from error


def _facts(
    path: Path, metadata: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[int, ...], bool]:
    """Return class names, shape and whether it takes pixels, as the model's metadata tell."""
    try:
        names, shape, pixels = (json.loads(metadata[KEY + k]) for k in (CLASS_NAMES, SHAPE, PIXELS))
    except (KeyError, ValueError, RecursionError) as error:
        raise ModelError(
            str(path), "is an ONNX model that edgeloop did not write", _REMEDY
        ) from error
    named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    sized = isinstance(shape, list) and all(type(side) is int and side > 0 for side in shape)
    if (
        not (named and sized and isinstance(pixels, bool))
        or math.prod(shape) > pictures.MOST_PIXELS
    ):
        raise ModelError(str(path), "has metadata that are not edgeloop's", _REMEDY)
    return tuple(names), tuple(shape), pixels


def classify(model: Exported, paths: Sequence[Path]) -> list[Prediction]:
    """Read and classify images, in batches.

    Raises:
        DataError: an image that cannot be read or does not fit.
        ModelError: a model that gives an image no score.
    """
    found = []
    for start in range(0, len(paths), _BATCH):
        batch = paths[start : start + _BATCH]
        scores_BC = model.scores(_read(model, batch))
        found += [_prediction(model, *pair) for pair in zip(batch, scores_BC, strict=True)]
    return found


def _read(model: Exported, paths: Sequence[Path]) -> Inputs:
    if model.is_picture:
        return [images.load_whole(path) for path in paths]
    return np.stack([images.load(path, model.shape, pixels=model.pixels) for path in paths])


def _prediction(model: Exported, image: Path, scores_C: NDArray[np.float32]) -> Prediction:
    order = np.argsort(-scores_C, kind="stable")
    ranking = tuple(int(label) for label in order if np.isfinite(scores_C[label]))
    if not ranking:
        raise ModelError(str(model.path), f"gives {image} no score", "train and export it again")
    unsigned_C = scores_C + np.float32(0)  # minus zero reads odd
    return Prediction(str(image), tuple(unsigned_C.tolist()), ranking)


def _record(each: Prediction, names: Sequence[str], top: int | None) -> dict[str, Any]:
    """Return a prediction for JSON; a class without a score has null."""
    best = each.ranking[0]
    scores = [score if math.isfinite(score) else None for score in each.scores]
    record = {"image": each.image, "label": names[best], "class": best, "scores": scores}
    if top:
        ranked = each.ranking[:top]
        record["top"] = [{"label": names[c], "class": c, "score": scores[c]} for c in ranked]
    return record


def _table(predictions: Sequence[Prediction], names: Sequence[str], top: int) -> str:
    """Return aligned columns: the image, then label and score of the best classes."""
    columns = min(top, len(names))
    head = ["image", "label", "score"]
    for place in range(2, columns + 1):
        head += ["second" if place == 2 else f"no. {place}", "score"]
    rows = [head]
    for each in predictions:
        cells = [each.image]
        for c in each.ranking[:columns]:
            cells += [names[c], f"{each.scores[c]:.4g}"]
        cells += ["-"] * (len(head) - len(cells))
        rows.append([_shown(cell) for cell in cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _shown(text: str) -> str:
    """Return text that a terminal can show: a name may hold control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line as with everything else here."""

    def error(self, message: str) -> NoReturn:
        """End the command with what argparse says, in one sentence."""
        self.exit(EXIT_INPUT, f"error: {ConfigError(*self._describe(message))}\n")

    def _describe(self, message: str) -> tuple[str, str, str]:
        see = f"see `{self.prog} --help`"
        kind, _, rest = message.partition(": ")
        if kind == "the following arguments are required":
            missing = rest.split(", ")
            problem = "is missing" if len(missing) == 1 else "are missing"
            return " and ".join(missing), problem, f"add what is missing, or {see}"
        if kind == "unrecognized arguments":
            word = rest.split()[0]
            meant = choose(word.partition("=")[0], self._option_string_actions)
            remedy = meant if word.startswith("-") and meant.startswith("did") else see
            return word, "there is no such option", remedy
        if found := re.fullmatch(r"argument (\S+): (.*)", message, re.DOTALL):
            return found[1], _PROBLEMS.get(found[2], found[2]), see
        return self.prog, message, see


_PROBLEMS = {"expected one argument": "has no value"}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("edgeloop predict", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="what a device exported")
    parser.add_argument(
        "images",
        type=Path,
        nargs="+",
        metavar="IMAGE",
        help="PNG, JPEG, BMP, GIF, WebP, PGM or PPM, or an .npy array",
    )
    parser.add_argument("--json", action="store_true", help="print JSON with all scores")
    parser.add_argument("--top", type=_count, metavar="K", help="show the K best classes (2)")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text[:9]) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of classes, 1 or more")
    return int(text[:9])
