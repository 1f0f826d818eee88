"""A base in this process, on onnxruntime; needs no torch.

Shape suffixes: N inputs, D dimensions.
"""

import json
from collections import OrderedDict
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeloop.bases import manifest
from edgeloop.bases.manifest import FEATURES, INPUTS, KEY, VARIANCES
from edgeloop.errors import BaseError
from edgeloop.runtime import onnx_graphs

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

BATCH_SIZE = 64
"""Inputs a run, so that memory does not grow."""
_KEPT = 4  # sets of inputs whose features are remembered
_LARGEST = 1e4  # of a feature; what is larger comes of a base that does not fit

Features = NDArray[np.float64]


class Base:
    """A frozen extractor of features.

    Args:
        graph: an ONNX file's bytes, as `manifest` says.
        name: for messages.

    Attributes:
        identity: SHA-256 of the graph.
        shape: of one input, channels first.
        dims: D.
        variances_D: of each dimension over the images that it was made with; ones if nobody knows.

    Raises:
        BaseError: if the graph cannot be run, or is no base.
    """

    def __init__(self, graph: bytes, name: str = "base") -> None:
        self.identity = manifest.digest(graph)
        self._graph, self._name = graph, name
        self._session = _session(graph, name)
        self.shape, self.dims = _facts(self._session, name)
        self.variances_D = _variances(self._session, self.dims, name)
        self._known: OrderedDict[bytes, Features] = OrderedDict()

    def __reduce__(self) -> tuple[type["Base"], tuple[bytes, str]]:
        """Survive the way to a worker process."""
        return type(self), (self._graph, self._name)

    @property
    def graph(self) -> bytes:
        """The ONNX file's bytes."""
        return self._graph

    @classmethod
    def read(cls, folder: Path) -> "Base":
        """Open a base's folder.

        Raises:
            BaseError: if it holds none, or another one than its manifest says.
        """
        facts, graph = manifest.read(folder)
        base = cls(graph, str(folder))
        if (base.shape, base.dims) != (facts.shape, facts.dims):
            problem = f"its graph makes {base.dims} numbers of {base.shape}, its manifest differs"
            raise BaseError(str(folder), problem, "build or fetch it again")
        return base

    def features(self, inputs: NDArray[np.float32]) -> Features:
        """Return the features (N, D) of inputs (N, *shape), as clients' models read them.

        The features of the same inputs are remembered for a while.

        Raises:
            BaseError: if the inputs have another shape, or a feature is no usable number.
        """
        inputs = np.ascontiguousarray(inputs, np.float32)
        if inputs.shape[1:] != self.shape:
            problem = f"reads inputs of {self.shape}, these are {inputs.shape[1:]}"
            raise BaseError(self._name, problem, "choose a base that was made for them")
        key = blake2b(inputs.tobytes(), digest_size=16).digest()
        if key not in self._known:
            self._known[key] = self._checked(self._computed(inputs))
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _computed(self, inputs: NDArray[np.float32]) -> Features:
        starts = range(0, len(inputs), BATCH_SIZE)
        parts = [self._run(inputs[start : start + BATCH_SIZE]) for start in starts]
        return np.concatenate([np.zeros((0, self.dims)), *parts])

    def _run(self, inputs: NDArray[np.float32]) -> Features:
        try:
            found = np.asarray(self._session.run([FEATURES], {INPUTS: inputs})[0])
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            reason = " ".join(str(error).split())[:200]
            remedy = "build or import it again"
            raise BaseError(self._name, f"cannot be run ({reason})", remedy) from error
        if found.shape != (len(inputs), self.dims):
            problem = f"makes features of shape {found.shape}, not {(len(inputs), self.dims)}"
            raise BaseError(self._name, problem, "build or import it again")
        return found.astype(np.float64)

    def _checked(self, features_ND: Features) -> Features:
        usable_N = (np.abs(features_ND) <= _LARGEST).all(1)  # no NaN is
        if not usable_N.all():
            which = int(np.argmin(usable_N))
            problem = f"input {which} has features that are NaN, infinite or above {_LARGEST:g}"
            remedy = "look at that input, or choose a base that fits"
            raise BaseError(self._name, problem, remedy)
        features_ND.flags.writeable = False
        return features_ND


def _session(graph: bytes, name: str) -> "InferenceSession":
    import onnxruntime  # 18 MB, which a device that waits for a task does not take

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised, and said once
    try:
        onnx_graphs.check(graph)
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        reason = " ".join(str(error).split())[:200]
        problem = f"is no ONNX graph that can be run ({reason})"
        raise BaseError(name, problem, "build or fetch it again") from error


def _facts(session: "InferenceSession", name: str) -> tuple[tuple[int, ...], int]:
    """Return the shape of one input, and D."""
    reads = {each.name: tuple(each.shape) for each in session.get_inputs()}
    makes = {each.name: tuple(each.shape) for each in session.get_outputs()}
    shape, made = reads.get(INPUTS, ())[1:], makes.get(FEATURES, ())[1:]
    sized = all(type(side) is int and side > 0 for side in (*shape, *made))
    if len(reads) != 1 or not shape or len(made) != 1 or not sized:
        problem = f"has no input {INPUTS} (N, ...) and output {FEATURES} (N, D) of fixed sizes"
        raise BaseError(name, problem, "import it with `edgeloop base import`")
    return shape, made[0]


def _variances(session: "InferenceSession", dims: int, name: str) -> Features:
    text = session.get_modelmeta().custom_metadata_map.get(KEY + VARIANCES)
    if text is None:
        return np.ones(dims)
    try:
        found = np.array(json.loads(text), np.float64)
        fits = found.shape == (dims,) and bool((found >= 0).all() and found.sum() > 0)
        fits = fits and bool(np.isfinite(found).all())
    except (ValueError, TypeError, RecursionError):
        fits = False
    if not fits:
        problem = f"says of its dimensions' variances what is no {dims} numbers"
        raise BaseError(name, problem, "build or import it again")
    return found
