"""Which columns of a table hold the pictures, the labels and whose each sample is."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop.errors import ConfigError, choose

LABELS = (
    *("label", "fine_label", "labels", "class", "target", "category", "character", "digit"),
    *("class_label", "class_name", "class_id", "label_id", "diagnosis", "species", "breed"),
    *("activity", "emotion", "sentiment", "classid", "y"),
)
IMAGES = (
    *("image", "img", "images", "file_name", "filename", "file", "path", "filepath", "image_path"),
    *("image_id", "picture", "photo", "id"),
)
CLIENTS = (
    *("client", "subject", "client_id", "subject_id", "writer_id", "writer", "user_id", "user"),
    *("speaker_id", "speaker", "device_id", "device", "natural_id"),
)


@dataclass(frozen=True)
class Columns:
    """Names of columns, where their own names do not tell.

    Attributes:
        label: of the classes.
        image: of the pictures, or of their files.
        client: of the natural clients.
    """

    label: str | None = None
    image: str | None = None
    client: str | None = None

    def __bool__(self) -> bool:
        return bool(self.label or self.image or self.client)


BY_NAME = Columns()
"""What no one has named: columns tell themselves by their names."""


def find(
    there: Sequence[str], known: Sequence[str], asked: str | None, option: str, where: str
) -> str | None:
    """Return the name of a column of a table; None where none is known.

    Args:
        there: the table's.
        known: names that tell, in the order in which they count; any case.
        asked: the one that somebody has named.
        option: how it was named, for the message.
        where: the table.

    Raises:
        ConfigError: a column that was asked for and is not there.
    """
    if asked is not None:
        if asked not in there:
            problem = f"there is no {asked!r} in {where}"
            raise ConfigError(option, problem, choose(asked, list(there)))
        return asked
    plain = {name.strip().lower().replace(" ", "_"): name for name in reversed(there)}
    return next((plain[name] for name in known if name in plain), None)
