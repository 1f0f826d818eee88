"""What a run with class statistics is asked to do."""

from dataclasses import dataclass
from typing import Literal

from edgeloop.algorithm import Count


@dataclass(frozen=True)
class Config:
    """Hyperparameters.

    Attributes:
        classes: C.
        seed: the run's; folds are drawn from it.
        base_sha256: the identity of the base; "" for any.
        dims: D, the base's.
        form: "gaussian", one covariance for all classes; "cosine", nearest means of whitened
            features of length 1, for a few samples of each class.
        own: a client's own classifier: "kernel", ridge regression, or "gaussian" as all clients'.
        second: whether clients upload the second moment of their features; without it the base's
            own covariance takes its place, and an upload is C prototypes only.
        precision: of what clients upload, "half" or "single".
    """

    classes: Count
    seed: int = 0
    base_sha256: str = ""
    dims: Count = 64
    form: Literal["gaussian", "cosine"] = "gaussian"
    own: Literal["kernel", "gaussian"] = "kernel"
    second: bool = True
    precision: Literal["half", "single"] = "half"

    @property
    def half(self) -> bool:
        """Whether uploads have half precision."""
        return self.precision == "half"

    @property
    def sends_second(self) -> bool:
        """Whether uploads have a second moment."""
        return self.second and self.form == "gaussian"
