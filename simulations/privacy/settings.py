"""What an attack is asked to do, checked before anything runs."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from edgeloop import algorithms, data
from edgeloop.data import Federation
from edgeloop.errors import ConfigError, DataError
from edgeloop.models.split import SplitModel
from edgeloop.privacy.dp_sgd import NoiseSecret
from edgeloop.protocol.task import WIDTH
from edgeloop.runtime.config import Option
from edgeloop.seeds import derive
from simulations.privacy.exposure import ObservedUpload
from simulations.privacy.inversion import Objective
from simulations.privacy.similarity import WINDOW
from simulations.privacy.victims import build
from simulations.settings import (
    DataSettings,
    HyperparameterWords,
    PrivacyWords,
    Whole,
)

CLIENTS = 5
"""Of data that comes undivided, unless somebody says: each has enough images of a class."""
DIVISION = ("iid", "pathological", "dirichlet", "exdir")
"""Partitions among as many clients as one likes."""
STRONG_PRIOR, WEAK_PRIOR = 1e-2, 1e-5
"""Weights of the total variation, unless somebody says."""


class AttackSettings(DataSettings):
    """One way to attack; of whose uploads, and how often, the study says."""

    client: Annotated[int, Field(ge=0)] = 0
    """Number of the attacked client."""
    model: str = "cnn"
    """The client's architecture."""
    smooth: Annotated[bool, Option(name="--smooth/--as-is")] = True
    """Replace ReLU by GELU and max pooling by averages, or not."""
    width: Whole = WIDTH
    """Feature width K."""
    epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs that the model was trained before the attack."""
    knowledge: Literal["model", "surrogate"] = "model"
    """What the attacker knows of parts not sent: model, or surrogate."""
    labels: Literal["inferred", "searched"] = "inferred"
    """Labels: inferred where possible, or searched."""
    objective: Objective = "squared"
    """Objective: squared (DLG), or cosine."""
    iterations: Whole = 400
    """Largest number of iterations of the search."""
    variation: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Weight of total variation. [default: 1e-5, else 1e-2: see the docs]"""
    options: HyperparameterWords = Field(default_factory=dict)
    """A hyperparameter: key=value."""
    privacy: PrivacyWords = None
    """The client trains with noise: noise=1, clip=1. May be repeated."""

    def federation(self) -> Federation:
        """Open the data; what comes undivided is dealt out evenly, among five clients.

        Raises:
            InputError: as `DataSettings.federation`; and for data that holds no images.
        """
        update: dict[str, Any] = {}
        if self.partition is None and not data.is_divided(self.data):
            update = {"partition": "iid", "balanced": True}
        if self.clients is None and update.get("partition", self.partition) in DIVISION:
            update["clients"] = CLIENTS
        asked = self.model_copy(update=update)
        federation = DataSettings.federation(asked)
        if not federation.pixels or min(federation.shape[1:]) < WINDOW:
            problem = f"{self.data} holds no images of {WINDOW} pixels a side or more"
            raise DataError("data", problem, "name images, such as fashion-sample")
        return federation

    def build_model(self, federation: Federation, seed: int) -> SplitModel:
        """Return the client's model with fresh weights.

        Raises:
            ModelError: as `victims.build`.
        """
        shape, classes = federation.shape, federation.classes
        return build(self.model, shape, classes, self.smooth, self.width, seed)

    def algorithm_options(
        self, algorithm: str, federation: Federation, seed: int
    ) -> dict[str, Any]:
        """Return the fields of an algorithm's Config.

        Args:
            algorithm: its name.
            federation: whose clients.
            seed: of the run that is attacked.

        Raises:
            ConfigError: if an option names the architecture.
        """
        if "architecture" in self.options:
            raise ConfigError("set", "architecture has an option of its own", "use --model")
        facts = algorithms.supported_options(
            algorithm,
            classes=federation.classes,
            width=self.width,
            shape=federation.shape,
            architecture=self.model,
            seed=seed,
        )
        return {**self.options, **facts}

    def secret(self, seed: int) -> NoiseSecret | None:
        """Return what the client's noise is made from, which the attacker does not know."""
        if self.privacy is None:
            return None
        return NoiseSecret(self.privacy, derive(seed, "privacy").to_bytes(8, "big"))

    def prior(self, of_weights: bool) -> float:
        """Return the weight of the total variation."""
        if self.variation is not None:
            return self.variation
        return WEAK_PRIOR if of_weights and self.objective == "squared" else STRONG_PRIOR

    def known_to_attacker(self, exposed: ObservedUpload) -> ObservedUpload:
        """Return an upload without its labels, if they are to be searched."""
        return exposed if self.labels == "inferred" else replace(exposed, labels_B=None)
