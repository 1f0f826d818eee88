"""Whether there is an architecture of a name: asked before anything needs torch."""

from edgeloop.errors import ModelError, choose
from edgeloop.runtime import modules
from edgeloop.runtime.plugins import MODELS

_MODELS = "edgeloop.models"


def check(architecture: str) -> None:
    """Check an architecture's name, as building it would, without an import of torch.

    Raises:
        ConfigError: if two packages bring it.
        ModelError: if there is none of that name, or its head is unknown.
    """
    base, _ = modules.constant(f"{_MODELS}.layered", "split_name")(architecture)
    built_in = _built_in()
    MODELS.find(base, built_in)
    known = [*built_in, *MODELS.names()]
    if base not in known:
        raise ModelError("architecture", f"there is no {architecture!r}", choose(base, known))


def _built_in() -> list[str]:
    """Return the names of this package's own, those with a file of their own last."""
    own = modules.binding(_MODELS, "ARCHITECTURE")
    files = [each.rpartition(".")[2].replace("_", "-") for each in own]
    return [*modules.constant(f"{_MODELS}.known_names", "ARCHITECTURES"), *files]
