"""What a run with class statistics is asked to do."""

from dataclasses import dataclass
from typing import Literal

from edgeloop.algorithm import Count, Positive


@dataclass(frozen=True)
class Config:
    """Hyperparameters.

    Attributes:
        classes: C.
        seed: of the run; folds are drawn from it.
        base_sha256: the identity of the base; "" for any.
        dims: D, the base's.
        form: "gaussian", one covariance for all classes; "cosine", nearest means of whitened
            features of length 1, for a few samples of each class.
        own: classifier of a client of its own: "kernel", ridge regression, or "gaussian", as for
            all clients.
        second: upload the second moment of the features, too; otherwise the base's own covariance
            takes its place, and an upload is C prototypes only.
        precision: precision of what clients upload, "half" or "single".
        network: a client that has torch also trains a network on its own samples, which joins its
            mixture at the end of the run (`edgeloop.expert`); nothing of it travels.
        network_rounds: rounds for which that network is trained.
        local_epochs: epochs of that network per round (E).
        local_lr: learning rate of that network (eta).
    """

    classes: Count
    seed: int = 0
    base_sha256: str = ""
    dims: Count = 64
    form: Literal["gaussian", "cosine"] = "gaussian"
    own: Literal["kernel", "gaussian"] = "kernel"
    second: bool = True
    precision: Literal["half", "single"] = "half"
    network: bool = False
    network_rounds: Count = 50
    local_epochs: Count = 1
    local_lr: Positive = 0.01

    @property
    def half(self) -> bool:
        """Whether uploads have half precision."""
        return self.precision == "half"

    @property
    def sends_second(self) -> bool:
        """Whether uploads have a second moment."""
        return self.second and self.form == "gaussian"
