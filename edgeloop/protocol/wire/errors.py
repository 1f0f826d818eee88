"""What a peer can get wrong, each with an error of its own.

WireError(ValueError)      a peer sent something that is not what was expected
├── TruncatedError         too short, or without the magic
├── OversizeError          longer than the receiver's limit
├── TrailingBytesError     bytes behind the digest
├── DigestError            damaged on its way
├── VersionError           another schema version
├── HeaderError            a header that is no header
├── KindError              other kinds of message than expected
├── FieldsError            missing, unknown or unreadable fields
├── DtypeError             another dtype than the schema's
├── ShapeError             another rank, or a size that contradicts the task's
├── NotFiniteError         NaN or infinity
├── RangeError             a number that cannot be
└── ContentError           well-formed, but the message itself says no
"""


class WireError(ValueError):
    """The bytes are not the expected message."""


class TruncatedError(WireError):
    """Too short for a frame, or not one of ours."""


class OversizeError(WireError):
    """Longer than the receiver accepts."""


class TrailingBytesError(WireError):
    """There are bytes behind the frame."""


class DigestError(WireError):
    """The digest does not match."""


class VersionError(WireError):
    """Another version of the frame."""


class HeaderError(WireError):
    """The header cannot be read."""


class KindError(WireError):
    """Other kinds of message than expected."""


class FieldsError(WireError):
    """Fields are missing, unknown or unreadable."""


class DtypeError(WireError):
    """A field has another dtype than its schema says."""


class ShapeError(WireError):
    """A field has another shape than its schema or the task says."""


class NotFiniteError(WireError):
    """A field has NaN or infinity in it."""


class RangeError(WireError):
    """A field has a number out of its range, or one too large."""


class ContentError(WireError):
    """The message's own checks refuse its content."""
