"""The `config.pbtxt` of a served model, in protobuf's text format.

Source: Triton's `model_config.proto`, and the parameters of its onnxruntime backend, which the
model for the Python backend reads too.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cloud.generator_service.settings import Serving
from edgeloop.generators.manifest import Manifest


@dataclass(frozen=True)
class Array:
    """An input or output: its name, Triton's word for its type, its sizes without the batch's.

    No sizes: one value a sample, which Triton sends as (N, 1) and gives the model as (N,).
    """

    name: str
    kind: str
    sizes: tuple[int, ...]


def arrays(part: str, described: Manifest) -> tuple[list[Array], Array]:
    """Return the inputs and the output of `mapping.onnx` or `synthesis.onnx`."""
    latents = Array("latents", "FP32", (described.latent_dim,))
    if part == "synthesis.onnx":
        return [latents], Array("images", "UINT8", tuple(described.shape))
    classes = [Array("classes", "INT64", ())] if described.classes else []
    return [Array("noise", "FP32", (described.noise_dim,)), *classes], latents


def config(
    name: str, inputs: list[Array], output: Array, parameters: Mapping[str, str], serving: Serving
) -> str:
    """Return the configuration of a model with all its versions."""
    kind = "KIND_GPU" if serving.gpu else "KIND_CPU"
    fields = [
        f"name: {_quoted(name)}",
        f"backend: {_quoted(serving.backend)}",
        f"max_batch_size: {serving.max_batch_size}",
        *(f"input {{ {_array(each)} }}" for each in inputs),
        f"output {{ {_array(output)} }}",
        f"instance_group {{ kind: {kind} count: {serving.instances} }}",
        _batching(serving),
        *(_warm_up(inputs, size) for size in sorted({1, serving.max_batch_size})),
        f"response_cache {{ enable: {str(serving.cache).lower()} }}",
        f"version_policy {{ latest {{ num_versions: {serving.versions} }} }}",
        *(_parameter(key, value) for key, value in parameters.items()),
    ]
    return "\n".join(fields) + "\n"


def settings(serving: Serving) -> dict[str, str]:
    """Return the parameters that tell a backend how to compute."""
    return {
        "intra_op_thread_count": str(serving.threads),
        "inter_op_thread_count": "1",
        "enable_mem_arena": str(int(serving.arena)),
        "enable_mem_pattern": str(int(serving.memory_pattern)),
    }


def identities(versions: Mapping[int, Manifest]) -> dict[str, str]:
    """Return each version's manifest, which clients read, and its identity, which people read."""
    found: dict[str, str] = {}
    for number, described in versions.items():
        content = json.loads(described.model_dump_json())
        found[f"edgeloop.identity.{number}"] = described.identity
        found[f"edgeloop.manifest.{number}"] = json.dumps(content)
    return found


def _array(array: Array) -> str:
    base = f"name: {_quoted(array.name)} data_type: TYPE_{array.kind}"
    if not array.sizes:
        return f"{base} dims: 1 reshape {{ shape: [] }}"
    return f"{base} dims: {list(array.sizes)}"


def _batching(serving: Serving) -> str:
    """Prefer whole batches, and halves and quarters: then a request waits no longer."""
    most = serving.max_batch_size
    sizes = sorted({size for size in (most // 4, most // 2, most) if size > 0})
    wait = f"max_queue_delay_microseconds: {serving.delay_microseconds}"
    return f"dynamic_batching {{ preferred_batch_size: {sizes} {wait} }}"


def _warm_up(inputs: list[Array], size: int) -> str:
    """Run once before the model is ready, so that no client pays for what is done once."""
    arrays = " ".join(_zeros(each) for each in inputs)
    return f'model_warmup {{ name: "{size} at once" batch_size: {size} {arrays} }}'


def _zeros(array: Array) -> str:
    sizes = list(array.sizes or (1,))
    value = f"data_type: TYPE_{array.kind} dims: {sizes} zero_data: true"
    return f"inputs {{ key: {_quoted(array.name)} value {{ {value} }} }}"


def _parameter(key: str, value: str) -> str:
    return f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"


def _quoted(text: str) -> str:
    """Quote ASCII text; JSON and protobuf escape quotes and backslashes alike."""
    return json.dumps(text)
