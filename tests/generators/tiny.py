"""A generator small enough for any test, made of ONNX nodes alone.

Shape suffixes: Z noise, H latent, K classes, P values of an image.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeloop.generators import manifest

_OPSET = 17
_IR = 8  # of that opset, so that older runtimes read it too


def write_tiny(
    folder: Path,
    seed: int = 0,
    latent_dim: int = 8,
    classes: int = 0,
    shape: tuple[int, int, int] = (3, 8, 8),
) -> Path:
    """Write a generator with drawn weights; another seed's is another one. Return the folder.

    Latents are tanh(noise Z->H [+ the class's vector]); images are tanh(latents H->P) as bytes.
    The noise is one wider than the latents, so that taking one for the other fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    noise_dim = latent_dim + 1
    _save(_mapping(random, noise_dim, latent_dim, classes), folder / manifest.MAPPING)
    _save(_synthesis(random, latent_dim, shape), folder / manifest.SYNTHESIS)
    manifest.write(
        folder,
        name="tiny",
        title="drawn weights, for tests",
        source="tests/generators/tiny.py",
        licence="Apache-2.0",
        latent_dim=latent_dim,
        noise_dim=noise_dim,
        classes=classes,
        shape=shape,
    )
    return folder


def _mapping(
    random: np.random.Generator, noise_dim: int, latent_dim: int, classes: int
) -> onnx.GraphProto:
    weights: dict[str, NDArray[Any]] = {"weight_ZH": _drawn(random, noise_dim, latent_dim)}
    inputs = [helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["N", noise_dim])]
    nodes = [helper.make_node("MatMul", ["noise", "weight_ZH"], ["mapped"])]
    if classes:
        weights["classes_KH"] = _drawn(random, classes, latent_dim)
        inputs.append(helper.make_tensor_value_info("classes", TensorProto.INT64, ["N"]))
        nodes.append(helper.make_node("Gather", ["classes_KH", "classes"], ["embedded"]))
        nodes.append(helper.make_node("Add", ["mapped", "embedded"], ["summed"]))
    nodes.append(helper.make_node("Tanh", ["summed" if classes else "mapped"], ["latents"]))
    output = helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["N", latent_dim])
    return helper.make_graph(nodes, "mapping", inputs, [output], _stored(weights))


def _synthesis(
    random: np.random.Generator, latent_dim: int, shape: tuple[int, int, int]
) -> onnx.GraphProto:
    weights: dict[str, NDArray[Any]] = {
        "weight_HP": _drawn(random, latent_dim, int(np.prod(shape))),
        "one": np.array([1.0], np.float32),
        "half": np.array([127.5], np.float32),
        "least": np.array(0.0, np.float32),
        "most": np.array(255.0, np.float32),
        "shape": np.array([-1, *shape], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["latents", "weight_HP"], ["drawn"]),
        helper.make_node("Tanh", ["drawn"], ["signed"]),
        helper.make_node("Add", ["signed", "one"], ["shifted"]),
        helper.make_node("Mul", ["shifted", "half"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "least", "most"], ["clipped"]),
        helper.make_node("Round", ["clipped"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["bytes", "shape"], ["images"]),
    ]
    latents = helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["N", latent_dim])
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", *shape])
    return helper.make_graph(nodes, "synthesis", [latents], [images], _stored(weights))


def _drawn(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.float32]:
    return random.standard_normal((rows, columns), np.float32) / np.float32(np.sqrt(rows))


def _stored(weights: dict[str, NDArray[Any]]) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(value, name) for name, value in weights.items()]


def _save(graph: onnx.GraphProto, path: Path) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = _IR
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
