"""A generator behind a Triton Inference Server, over gRPC; the library's only use of tritonclient.

triton://HOST:PORT/NAME              the newest version there is now, held to from then on
triton://HOST:PORT/NAME?version=2    this one

The server has two models, NAME-mapping and NAME-synthesis, with the tensors of the ONNX files
(`classes` as (N, 1)). Their configuration's parameters `edgeloop.manifest.VERSION` and
`edgeloop.identity.VERSION` say what each version is: Triton keeps parameters by model, not by
version. `edgeloop generator serve` writes such models.

Shape suffixes: N samples, H entries of a latent.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from edgeloop.errors import GeneratorError, UnavailableError
from edgeloop.generator import Images, Latents, check_width, drawn_classes, noise
from edgeloop.generators import address, channel, control
from edgeloop.generators.address import Address
from edgeloop.generators.described import DescribedGenerator
from edgeloop.generators.manifest import Manifest
from edgeloop.generators.retry import NoAnswerError, OnProblem, RetryPolicy

T = TypeVar("T")

POLL_SECONDS = 5.0
"""That a server may take to say what it serves."""

REFUSED = ("INVALID_ARGUMENT", "UNIMPLEMENTED", "PERMISSION_DENIED", "UNAUTHENTICATED")
"""What gRPC calls a request that no waiting makes right."""

_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection, tried at once
]


class TritonGenerator(DescribedGenerator):
    """A served generator; it waits for a server that is away, and never takes another's images.

    After every answer it asks the server what the model is, so that no image of another generator
    gets through, not even if it was replaced between two requests.

    Args:
        reference: as this module's docstring says.
        patience_seconds: that the server may be away, from the first failure on.
        watch: called with what is wrong at each failure, and with None once all is well again.
        answer_seconds: that one batch may take.
        clock: seconds that only grow.
        sleep: waits so many of them.

    Raises:
        GeneratorError: if the reference is wrong, the server is away for too long, or has no
            such generator.
    """

    def __init__(
        self,
        reference: str,
        *,
        patience_seconds: float = 30.0,
        watch: OnProblem = lambda problem: None,
        answer_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._address = address.read(reference)
        self._patience = RetryPolicy(patience_seconds, watch, clock, sleep)
        self._answer_seconds = answer_seconds
        self._client = _client(self._address)
        self.version: int = self._ask(self._find_version)
        self.manifest = self._ask(self._read_manifest)
        models = (self._address.mapping, self._address.synthesis)
        self._batches: Mapping[str, int] = {each: self._ask_batch(each) for each in models}

    def sample_latents(self, count: int, seed: int) -> Latents:
        """Draw latents (N, H) from the prior; the noise is drawn here, the same as in process."""
        inputs: dict[str, NDArray[Any]] = {"noise": noise(count, self.manifest.noise_dim, seed)}
        if self.manifest.classes:
            inputs["classes"] = drawn_classes(count, self.manifest.classes, seed)[:, None]
        empty = np.zeros((0, self.latent_dim), np.float32)
        return self._run(self._address.mapping, inputs, "latents", empty)

    def synthesize(self, latents_NH: Latents) -> Images:
        """Return the images (N, channels, height, width) of latents (N, H)."""
        check_width(latents_NH, self.latent_dim)
        inputs = {"latents": np.ascontiguousarray(latents_NH, np.float32)}
        empty = np.zeros((0, *self.shape), np.uint8)
        return self._run(self._address.synthesis, inputs, "images", empty)

    def _run(
        self, model: str, inputs: Mapping[str, NDArray[Any]], output: str, empty: NDArray[Any]
    ) -> NDArray[Any]:
        """Answer part by part, as many samples at once as the server takes."""
        count, most = len(next(iter(inputs.values()))), self._batches[model]
        parts = [empty]
        for start in range(0, count, most):
            part = {name: values[start : start + most] for name, values in inputs.items()}
            expected = np.empty((min(most, count - start), *empty.shape[1:]), empty.dtype)
            parts.append(self._ask(partial(self._infer, model, part, output, expected)))
        return np.concatenate(parts)

    def _infer(
        self, model: str, inputs: Mapping[str, NDArray[Any]], output: str, expected: NDArray[Any]
    ) -> NDArray[Any]:
        tensors = [_tensor(name, values) for name, values in inputs.items()]
        try:
            answer = self._client.infer(
                model, tensors, str(self.version), client_timeout=self._answer_seconds
            )
        finally:  # a replaced generator may refuse the request: that is then what to tell
            self._check_identity(model)
        found: NDArray[Any] | None = answer.as_numpy(output)
        if found is None or (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise NoAnswerError(
                f"answers without {output}, or with other arrays: a model that dies does"
            )
        return found

    def _check_identity(self, model: str) -> None:
        found = self._parameters(model)[f"edgeloop.identity.{self.version}"].string_value
        if found != self.identity:
            change = f"{self.identity[:12]}... was, {found[:12] or 'nothing known'}... is"
            problem = f"is another generator now ({change})"
            raise self._error(problem, "serve the old one again, or begin a new task")

    def _find_version(self) -> int:
        models = (self._address.mapping, self._address.synthesis)
        served = [
            set(self._client.get_model_metadata(each, client_timeout=POLL_SECONDS).versions)
            for each in models
        ]
        both = sorted(int(each) for each in set.intersection(*served))
        wanted = self._address.version or (both[-1] if both else None)
        if wanted not in both:
            there = ", ".join(map(str, both)) or "none"
            raise self._error(f"has no version {wanted}; it has {there}", "ask for one it has")
        return wanted

    def _read_manifest(self) -> Manifest:
        """Return what the models say they are; both must say the same."""
        texts = {
            self._parameters(model)[f"edgeloop.manifest.{self.version}"].string_value
            for model in (self._address.mapping, self._address.synthesis)
        }
        try:
            (manifest,) = (Manifest.model_validate_json(text) for text in texts)
        except ValueError as error:
            problem = f"version {self.version} does not say which generator it is"
            remedy = "write its models with `edgeloop generator serve-files`"
            raise self._error(problem, remedy) from error
        return manifest

    def _ask_batch(self, model: str) -> int:
        return self._ask(lambda: max(1, int(self._config(model).max_batch_size)))

    def _parameters(self, model: str) -> Any:
        return self._config(model).parameters

    def _config(self, model: str) -> Any:
        version = str(self.version)
        return self._client.get_model_config(model, version, client_timeout=POLL_SECONDS).config

    def _ask(self, request: Callable[[], T]) -> T:
        """Repeat a request until it is answered, or patience is at its end."""
        try:
            return self._patience.call(lambda: self._once(request))
        except NoAnswerError as error:
            problem = f"has given no answer for {self._patience.seconds:g} s ({error})"
            remedy = "start it with `edgeloop generator serve`, or check the host and the port"
            raise UnavailableError(self._address.reference, problem, remedy) from error

    def _once(self, request: Callable[[], T]) -> T:
        try:
            return request()
        except InferenceServerException as error:
            problem = self._problem(error)
            self._client = _client(self._address)
            raise NoAnswerError(problem) from error

    def _problem(self, error: InferenceServerException) -> str:
        """Say what is wrong if waiting may help.

        Raises:
            GeneratorError: if it does not.
        """
        status, text = _grpc_message(error)
        if status in REFUSED:
            raise self._error(f"refuses the request ({text})", "serve it again") from error
        if status == "NOT_FOUND" and _ready(self._client):
            there = _generators(self._client)
            listed = "" if there is None else f"; the server has {', '.join(there) or 'none'}"
            remedy = "name one that it has, or serve it"
            raise self._error(f"is not there ({text}){listed}", remedy) from error
        return text

    def _error(self, problem: str, remedy: str) -> GeneratorError:
        return GeneratorError(self._address.reference, problem, remedy)


def load_version(reference: str, version: int, identity: str, secret: str | None = None) -> None:
    """Have a running server load a version of a generator's models that was just written.

    Args:
        reference: of the generator.
        version: that was written.
        identity: of the generator.
        secret: that the server asks for; the one that the environment names, if not given.

    Raises:
        GeneratorError: if it cannot load them, or has another generator as this version: its
            response cache would continue to answer with that one's images.
        UnavailableError: if it cannot be reached.
    """
    found = address.read(reference)
    client = _client(found)
    for model in (found.mapping, found.synthesis):
        if _served(client, model, version) not in ("", identity):
            problem = f"has another generator as version {version}, and its images in its cache"
            raise GeneratorError(reference, problem, "take another version, or start it again")
    for model in (found.mapping, found.synthesis):
        try:
            client.load_model(model, headers=control.headers(secret or control.read_secret()))
        except InferenceServerException as error:
            problem = f"does not take up {model} ({_grpc_message(error)[1]})"
            remedy = f"see the server's log; {control.VARIABLE} names the file with its secret"
            kind = GeneratorError if _ready(client) else UnavailableError
            raise kind(reference, problem, remedy) from error


def _served(client: InferenceServerClient, model: str, version: int) -> str:
    """Return the identity of a version that is served; nothing if there is none."""
    try:
        config = client.get_model_config(model, str(version), client_timeout=POLL_SECONDS).config
    except InferenceServerException:  # if the server is away, loading says so
        return ""
    return str(config.parameters[f"edgeloop.identity.{version}"].string_value)


def _client(found: Address) -> InferenceServerClient:
    return channel.connect(found.place, _CHANNEL)


def _tensor(name: str, values: NDArray[Any]) -> InferInput:
    tensor = InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values)
    return tensor


def _grpc_message(error: InferenceServerException) -> tuple[str, str]:
    """Return gRPC's word for an error, and its first line."""
    status = str(error.status() or "").removeprefix("StatusCode.")
    return status, str(error.message() or status).partition("\n")[0][:300]


def _ready(client: InferenceServerClient) -> bool:
    try:
        return bool(client.is_server_ready(client_timeout=POLL_SECONDS))
    except InferenceServerException:
        return False


def _generators(client: InferenceServerClient) -> list[str] | None:
    """Return the generators that a server lists; None if it does not: it wants its secret."""
    shown = control.headers(control.read_secret())
    try:
        models = client.get_model_repository_index(shown, client_timeout=POLL_SECONDS).models
    except InferenceServerException:
        return None
    names = {each.name for each in models if each.state == "READY"}
    return sorted(
        name.removesuffix("-synthesis")
        for name in names
        if name.endswith("-synthesis") and name.removesuffix("-synthesis") + "-mapping" in names
    )
