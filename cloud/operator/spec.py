"""The custom resources as the operator reads them; the CRDs are their definition.

An API server has filled in the defaults and checked the values. The defaults here are the same, for
objects that are older than a default.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from edgeloop.protocol.robust_rules import RobustChoice
from edgeloop.runtime.config import Signing

GROUP, VERSION = "edgeloop.io", "v1alpha1"

Scalar = int | str
Quantities = dict[str, Scalar]


class Part(BaseModel):
    """A part of a resource; keys that are not known are of a newer CRD, and left alone."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class Algorithm(Part):
    """What is learned with."""

    name: str
    variant: str = "released"
    hyperparameters: Annotated[dict[str, Any], Field(default_factory=dict)]


class Data(Part):
    """What every device's samples must be."""

    class_names: tuple[str, ...]
    shape: tuple[int, ...]


class Requirement(Part):
    """What a label must be."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class Selector(Part):
    """Which Devices are meant: those whose labels are all of this."""

    match_labels: Annotated[dict[str, str], Field(default_factory=dict)]
    match_expressions: tuple[Requirement, ...] = ()


class Cohort(Part):
    """Who is invited, and how long a round waits; devices are empty where a selector finds them."""

    devices: tuple[str, ...] = ()
    evicted: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    selector: Selector | None = None
    admit: tuple[str, ...] = ()
    max_devices: int | None = None
    quorum: int | None = None
    quorum_percent: int | None = None
    sample_percent: int | None = None
    buffer: int | None = None
    max_staleness: int | None = None
    grace_seconds: int = 5
    max_messages_per_minute: int | None = None
    max_megabytes_per_minute: int | None = None
    outliers: Literal["log", "refuse"] = "log"
    robust: RobustChoice = "auto"
    secure: bool = False
    step_seconds: int = 60
    deadline_seconds: int = 600
    give_up_seconds: int = 86_400


class GeneratorReference(Part):
    """A generator that a task asks for: a Generator's name, or a reference."""

    name: str | None = None
    channel: Literal["Stable", "Canary"] = "Stable"
    reference: str | None = None


class AskedBase(Part):
    """A base that a task asks for: a Base's name, or a reference."""

    name: str | None = None
    channel: Literal["Stable", "Canary"] = "Stable"
    reference: str | None = None


class Store(Part):
    """The secret with the ledger's database URL."""

    secret_name: str
    key: str = "url"


class Privacy(Part):
    """How much noise is in what devices send; numbers as strings: a CRD has no fractions."""

    noise: str = "1.0"
    clip: str = "1.0"
    prototype_noise: str = "10.0"
    prototype_clip: str = "1.0"
    delta: str = "0.00001"
    epsilon: str | None = None


class Storage(Part):
    """A task's volume."""

    size: str = "1Gi"
    class_name: str | None = None
    retain: bool = False


class Password(Part):
    """The secret with a broker's password."""

    secret_name: str
    key: str = "password"


class Broker(Part):
    """An MQTT broker, and how to speak to it."""

    host: str
    port: int = 8883
    secret_name: str | None = None
    client_certificates: bool = True
    username: str | None = None
    password: Password | None = None
    transport: Literal["tcp", "websockets"] = "tcp"
    path: str | None = None
    alpn: str | None = None
    proxy: str | None = None
    prefix: str | None = None
    client_id_prefix: str | None = None


class Ingest(Part):
    """Processes that take uploads beside the aggregator."""

    replicas: int


class Resources(Part):
    """Of a container."""

    requests: Annotated[
        Quantities, Field(default_factory=lambda: {"cpu": "250m", "memory": "512Mi"})
    ]
    limits: Annotated[Quantities, Field(default_factory=lambda: {"memory": "2Gi"})]


class TaskSpec(Part):
    """A FederatedTask's spec."""

    state: Literal["Running", "Paused", "Cancelled"] = "Running"
    algorithm: Algorithm
    data: Data
    cohort: Cohort
    rounds: int
    width: int = 512
    batch_size: int = 10
    seed: int = 0
    shuffle: bool = False
    generator: GeneratorReference | None = None
    base: AskedBase | None = None
    privacy: Privacy | None = None
    history: bool = False
    store: Store | None = None
    storage: Storage = Storage()
    broker: Broker | None = None
    signatures: Signing | None = None
    ingest: Ingest | None = None
    retries: int = 10
    resources: Annotated[Resources, Field(default_factory=lambda: Resources.model_validate({}))]
    node_selector: Annotated[dict[str, str], Field(default_factory=dict)]
    tolerations: tuple[dict[str, Any], ...] = ()


class Canary(Part):
    """A Generator's or a Base's second version."""

    source: str
    version: int


class ServingSpec(Part):
    """How Triton runs a Generator."""

    backend: Literal["onnxruntime", "python"] = "onnxruntime"
    instances: int = 1
    gpu: bool = False
    max_batch_size: int = 64


class GeneratorSpec(Part):
    """A Generator's spec."""

    source: str
    version: int = 1
    canary: Canary | None = None
    state: Literal["Loaded", "Unloaded"] = "Loaded"
    serving: ServingSpec = ServingSpec()


class BaseStorage(Part):
    """A Base's volume, with all its versions."""

    size: str = "1Gi"
    class_name: str | None = None


class BaseResources(Part):
    """Of a Base's server, which may have to compute it."""

    requests: Annotated[
        Quantities, Field(default_factory=lambda: {"cpu": "100m", "memory": "256Mi"})
    ]
    limits: Annotated[Quantities, Field(default_factory=lambda: {"memory": "4Gi"})]


class BaseSpec(Part):
    """A Base's spec."""

    source: str
    version: int = 1
    canary: Canary | None = None
    state: Literal["Served", "Stopped"] = "Served"
    storage: BaseStorage = BaseStorage()
    resources: Annotated[
        BaseResources, Field(default_factory=lambda: BaseResources.model_validate({}))
    ]


class DeviceSpec(Part):
    """A Device's spec."""

    device_name: str | None = None
    suspended: bool = False
    tasks: tuple[str, ...] | None = None


class Meta(Part):
    """What the operator needs of an object's metadata."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    deletion_timestamp: str | None = None
    labels: Annotated[dict[str, str], Field(default_factory=dict)]


class Task(Part):
    """A FederatedTask."""

    metadata: Meta
    spec: TaskSpec
    status: Annotated[dict[str, Any], Field(default_factory=dict)]

    def called(self, name: str) -> "Task":
        """Return the task with what its devices call it."""
        return self.model_copy(update={"status": {**self.status, "task": name}})

    def inviting(self, devices: tuple[str, ...]) -> "Task":
        """Return the task with these devices, as if it named them."""
        return self._with_cohort(devices=devices)

    def evicting(self, devices: tuple[str, ...]) -> "Task":
        """Return the task without these devices, as if its user had sent them away, too."""
        known = self.spec.cohort.evicted
        return self._with_cohort(evicted=(*known, *(each for each in devices if each not in known)))

    def _with_cohort(self, **changes: Any) -> "Task":
        cohort = self.spec.cohort.model_copy(update=changes)
        return self.model_copy(update={"spec": self.spec.model_copy(update={"cohort": cohort})})


class Generator(Part):
    """A Generator."""

    metadata: Meta
    spec: GeneratorSpec
    status: Annotated[dict[str, Any], Field(default_factory=dict)]


class Base(Part):
    """A Base."""

    metadata: Meta
    spec: BaseSpec
    status: Annotated[dict[str, Any], Field(default_factory=dict)]


class Device(Part):
    """A Device."""

    metadata: Meta
    spec: DeviceSpec = DeviceSpec()
    status: Annotated[dict[str, Any], Field(default_factory=dict)]

    @property
    def name(self) -> str:
        """What the broker and the tasks call it."""
        return self.spec.device_name or self.metadata.name

    @property
    def is_live(self) -> bool:
        """Whether it may take part: it is neither suspended nor being deleted."""
        return not self.spec.suspended and self.metadata.deletion_timestamp is None
