"""JSON that grows as frames do (`wire.versions`): contract, opening, receipt, presence, orders.

A later field is marked `wire.Since` and has a default. `minor` and `needs` are in the JSON only
where such fields are: `to_json` and `to_brief_json` write them, and a reader refuses the whole
message without them.
"""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)

from edgeloop.protocol import wire
from edgeloop.protocol.wire import versions

G = TypeVar("G", bound="Growing")
MAJOR, MINOR, NEEDS = "schema_version", "minor", "needs"


class Growing(BaseModel):
    """A message as JSON; unknown fields are refused, unless a newer minor version explains them.

    Attributes:
        ignored: names of the unknown fields that it came with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    VERSION: ClassVar[int] = 1
    _ignored: tuple[str, ...] = PrivateAttr(())

    @property
    def ignored(self) -> tuple[str, ...]:
        """Return the names of the fields of newer versions that it came with."""
        return self._ignored

    @classmethod
    def marks(cls) -> dict[str, wire.Since]:
        """Return what the later fields came with, by their names."""
        return dict(_marks(cls))

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls: type[G], value: Any, handler: ModelWrapValidatorHandler[G]) -> G:
        if not isinstance(value, dict):
            return handler(value)
        fields, ignored = cls._known(value)
        found = handler(fields)
        if ignored:
            found._ignored = ignored
        return found

    @classmethod
    def _known(cls, value: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the fields to read, and the names of those to ignore.

        Raises:
            VersionError: for another major version, or where a field must be known and is not.
        """
        fields = dict(value)
        name, known = cls.__name__.lower(), _newest_known(cls)
        major = fields.get(MAJOR, cls.VERSION)
        if type(major) is int:
            versions.check_major(name, major, cls.VERSION)
        if MAJOR not in cls.model_fields:
            fields.pop(MAJOR, None)
        minor, needs = (
            fields.pop(key) if versions.is_minor(fields.get(key)) else 0 for key in (MINOR, NEEDS)
        )
        versions.check_needed(f"this {name}", needs, known)
        ignored = sorted(fields.keys() - cls.model_fields.keys()) if minor > known else ()
        return {key: fields[key] for key in fields if key not in ignored}, tuple(ignored)

    def to_json(self, grown: bool, left_out: Collection[str] = ()) -> str:
        """Return it as JSON, without what is None and without later fields at their default.

        Args:
            grown: False for peers that refuse what they do not know: without any later field that
                need not be known.
            left_out: further fields to leave out.
        """
        marks = self.marks()
        carried = {
            name: mark
            for name, mark in marks.items()
            if (grown or mark.needed)
            and getattr(self, name) != type(self).model_fields[name].get_default()
        }
        text = self.model_dump_json(
            exclude_none=True, exclude={*left_out, *marks.keys() - carried.keys()}
        )
        return _with_minors(text, carried.values())

    def to_brief_json(self) -> str:
        """Return it as JSON without any field at its default: a message that 0.1 does not read."""
        text, marks = self.model_dump_json(exclude_defaults=True), _marks(type(self))
        later = [
            mark
            for name, mark in marks.items()
            if getattr(self, name) != type(self).model_fields[name].get_default()
        ]
        return _with_minors(text, later) if later else text


def _with_minors(text: str, carried: Collection[wire.Since]) -> str:
    """Return a message's JSON with the minor versions of the later fields that it carries."""
    minors = {MINOR: versions.newest(carried), NEEDS: versions.needed(carried)}
    further = "".join(f',"{key}":{minor}' for key, minor in minors.items() if minor)
    return f"{text[:-1]}{further}}}"


@cache
def _marks(model: type[Growing]) -> Mapping[str, wire.Since]:
    """Return what a message's later fields came with, by their names."""
    return {
        name: mark
        for name, field in model.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, wire.Since)
    }


@cache
def _newest_known(model: type[Growing]) -> int:
    """Return the minor version of a message that is known here."""
    return versions.newest(_marks(model).values())
