"""What an attack is asked to do, checked before anything runs."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from edgeloop import algorithms, data
from edgeloop.data import Federation
from edgeloop.errors import ConfigError, DataError
from edgeloop.models.split import SplitModel
from edgeloop.privacy.dp_sgd import NoiseSecret
from edgeloop.protocol.task import Scalar
from edgeloop.runtime.config import PrivacySettings
from edgeloop.seeds import derive
from simulations.privacy.exposure import ObservedUpload
from simulations.privacy.inversion import Objective
from simulations.privacy.similarity import WINDOW
from simulations.privacy.victims import build
from simulations.settings import DataSettings, Whole

CLIENTS = 5
"""Of data that comes undivided, unless somebody says: each has enough images of a class."""
DIVISION = ("iid", "pathological", "dirichlet", "exdir")
"""Partitions among as many clients as one likes."""
STRONG_PRIOR, WEAK_PRIOR = 1e-2, 1e-5
"""Weights of the total variation, unless somebody says."""


class AttackSettings(DataSettings):
    """One way to attack; of whose uploads, and how often, the study says.

    Attributes:
        client: whose images, by its number.
        model: the client's architecture.
        smooth: with GELU for ReLU, and averages for maxima.
        width: K, the unified feature width.
        epochs: that the model has trained before the round that is attacked.
        knowledge: whether the attacker knows those parts of the client's model that do not travel
            ("model"), or takes a stranger's for them ("surrogate").
        labels: "inferred" from the upload where it tells; or "searched" with the images.
        objective: as `inversion.SearchSettings` has it.
        iterations: of the search, at most.
        variation: the weight of the total variation; None for 1e-2, or 1e-5 for the squared
            distance of weights, which say more of an image than anything else.
        options: hyperparameters of the algorithms.
        privacy: how much noise the client trains with; None for none.
    """

    client: Annotated[int, Field(ge=0)] = 0
    model: str = "cnn"
    smooth: bool = True
    width: Whole = 512
    epochs: Annotated[int, Field(ge=0)] = 0
    knowledge: Literal["model", "surrogate"] = "model"
    labels: Literal["inferred", "searched"] = "inferred"
    objective: Objective = "squared"
    iterations: Whole = 400
    variation: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    options: dict[str, Scalar] = Field(default_factory=dict)
    privacy: PrivacySettings | None = None

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
