"""One half of a generator as a model of Triton's Python backend, on onnxruntime.

`cloud.generator_service.repository` copies this file beside each `model.onnx`. It runs in the
server's own Python, so it needs nothing but numpy and onnxruntime; both halves are run by it.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it is read when onnxruntime is imported

import onnxruntime
import triton_python_backend_utils as pb_utils
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument


class TritonPythonModel:
    """What the backend makes of this file: one object an instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the ONNX file.

        Args:
            args: `model_config` as JSON, where the model is, and what it is to run on.

        Raises:
            TritonModelException: if it cannot give right values here.
        """
        _refuse_numpy_2()
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        _refuse_another(folder / "model.onnx", config, args["model_version"])
        gpu = args["model_instance_kind"] == "GPU"
        device = int(args["model_instance_device_id"])
        self._session = _session(folder / "model.onnx", config, device if gpu else None)
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._output = self._session.get_outputs()[0].name

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests with one run; if that fails, one each: a bad one harms no other."""
        try:
            return self._answers(requests)
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            if len(requests) > 1:
                return [self.execute([request])[0] for request in requests]
            wrong = isinstance(error, InvalidArgument)
            code = pb_utils.TritonError.INVALID_ARG if wrong else pb_utils.TritonError.INTERNAL
            return [pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code))]

    def _answers(self, requests: Sequence[Any]) -> list[Any]:
        rows = [
            {
                name: pb_utils.get_input_tensor_by_name(request, name).as_numpy()
                for name in self._inputs
            }
            for request in requests
        ]
        batch = {name: np.concatenate([each[name] for each in rows]) for name in self._inputs}
        output = self._session.run([self._output], batch)[0]
        ends = np.cumsum([len(each[self._inputs[0]]) for each in rows])[:-1]
        return [self._response(part) for part in np.split(output, ends)]

    def _response(self, part: Any) -> Any:
        tensor = pb_utils.Tensor(self._output, np.ascontiguousarray(part))
        return pb_utils.InferenceResponse(output_tensors=[tensor])


def _refuse_numpy_2() -> None:
    """Fail where the backend would read and send wrong values without an error."""
    if int(np.__version__.partition(".")[0]) >= 2:
        raise pb_utils.TritonModelException(
            f"this server's Python has numpy {np.__version__}, with which Triton's Python backend "
            "silently gets wrong values; install numpy<2 there, or use tools/triton.sh"
        )


def _refuse_another(path: Path, config: dict[str, Any], version: str) -> None:
    """Fail if the file is not the one that this version's manifest names."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = config["parameters"].get(f"edgeloop.manifest.{version}", {"string_value": "{}"})
    if digest not in json.loads(manifest["string_value"]).get("sha256", {}).values():
        raise pb_utils.TritonModelException(
            f"{path} is not the file that config.pbtxt names for version {version}; "
            "write the repository again with `edgeloop generator serve-files`"
        )


def _session(
    path: Path, config: dict[str, Any], device: int | None
) -> onnxruntime.InferenceSession:
    """Read the parameters that the onnxruntime backend has under the same names."""
    values = {key: each["string_value"] for key, each in config["parameters"].items()}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(values["intra_op_thread_count"])
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = values["enable_mem_arena"] == "1"
    options.enable_mem_pattern = values["enable_mem_pattern"] == "1"
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights in files of their own are in nobody's checksum.
    external = "session.model_external_initializers_file_folder_path"
    options.add_session_config_entry(external, os.devnull)
    options.log_severity_level = 3
    providers: list[Any] = ["CPUExecutionProvider"]
    if device is not None:
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise pb_utils.TritonModelException(
                "this server's onnxruntime knows no GPU; install onnxruntime-gpu there, or serve "
                "on the CPU"
            )
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device}))
    return onnxruntime.InferenceSession(str(path), options, providers=providers)
