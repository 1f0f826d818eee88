"""Errors with a meaning: what they mean is their class, and a command's exit code.

    EdgeloopError(ValueError)      one clear sentence: field, problem, remedy
    ├── InputError                 2: wrong input; the same command fails again
    │   ├── ConfigError            a configuration file, a flag, a hyperparameter
    │   ├── DataError              a data set, an image, a partition
    │   │   ├── MisfitError        sound data, and not what the task is about
    │   │   └── NoSamplesError     a data set without samples; a device waits for some
    │   ├── ModelError             a model that does not exist or does not fit its data
    │   ├── BaseError              a base that is damaged, or another one
    │   ├── GeneratorError         a generator that is damaged, or another one
    │   └── RunError               a folder with another run, a state that cannot continue
    ├── UnavailableError           75: unavailable now; the same command may succeed later
    │   └── StorageError           a disk that is full or away, a database that does not answer
    ├── TakenError                 73: a ledger, folder, port or lease that another process has
    └── BrokerError                about an MQTT broker; each is one of the above, too
        ├── BrokerAwayError        75: it cannot be reached, or does not answer
        ├── BrokerSetupError       2: a file or a program that the connection needs
        └── RefusedError           it was reached, and refuses this client
            ├── BusyError          75: for now
            └── ForbiddenError     2: until its settings or ours are changed

docs/exit-codes.md is the table for users. What a peer sends is never one of these: see
`edgeloop.protocol.wire.WireError`.
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar

EXIT_BUG = 1
"""An error that is nobody's input: Python ends with it, after a traceback."""

EXIT_INPUT = 2
"""Wrong input, as a shell's own commands end with."""

EXIT_TAKEN = 73
"""A resource that another process has; EX_CANTCREAT of sysexits.h."""

EXIT_UNAVAILABLE = 75
"""Unavailable now, and worth another try; EX_TEMPFAIL of sysexits.h."""

EXIT_INTERRUPTED = 130
"""Ended by Ctrl-C."""

EXIT_TERMINATED = 143
"""Ended by SIGTERM before its work was done; a service ends with 0 instead."""


_ALIKE = 0.75
"""How much like a known word another one must be to be taken for it, 0 to 1."""


def choose(word: object, known: Iterable[object]) -> str:
    """Return the remedy for a word that is none of those known: the one meant, or all of them."""
    words = [str(each) for each in known]
    close = difflib.get_close_matches(str(word), words, n=1, cutoff=_ALIKE)
    folded = [each for each in words if each.casefold() == str(word).casefold()]
    for meant in [*folded, *close]:
        return f"did you mean {meant}"
    return f"choose one of {', '.join(words)}" if words else "take it out"


class EdgeloopError(ValueError):
    """What a person can do something about: names the field, the problem and the remedy.

    Args:
        field: what is wrong, as its user wrote it: a flag, a key, a path.
        problem: what is wrong with it, a clause without a full stop.
        remedy: what to do about it, an imperative clause without a full stop.

    Attributes:
        exit_code: what a command ends with that raises it.
    """

    exit_code: ClassVar[int] = EXIT_INPUT

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(f"{field}: {problem}; {remedy}")
        self.field = field
        self.problem = problem
        self.remedy = remedy

    def within(self, place: str) -> "EdgeloopError":
        """Return the same error, which says first where among many it is."""
        return type(self)(f"{place}: {self.field}", self.problem, self.remedy)

    def __reduce__(self) -> tuple[type["EdgeloopError"], tuple[str, str, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.field, self.problem, self.remedy)


class InputError(EdgeloopError):
    """Wrong input: the same command fails again."""

    exit_code = EXIT_INPUT


class UnavailableError(EdgeloopError):
    """Something is not there now, and may be later: a server, memory, room on a disk."""

    exit_code = EXIT_UNAVAILABLE


class StorageError(UnavailableError):
    """A disk is full or away, or a database does not answer: whoever writes there can wait."""


class TakenError(EdgeloopError):
    """Another process has what this one needs for itself: a ledger, a folder, a port, a lease."""

    exit_code = EXIT_TAKEN


class ConfigError(InputError):
    """A configuration file, a flag or a hyperparameter is wrong."""


class DataError(InputError):
    """A data set, an image or a partition is wrong."""


class MisfitError(DataError):
    """Data that can be read, and is not what the task is about."""


class NoSamplesError(DataError):
    """A data set has no sample, or none yet."""


class ModelError(InputError):
    """A model does not exist, or does not fit its data."""


class GeneratorError(InputError):
    """A generator is not there, damaged, or another one than agreed."""


class BaseError(InputError):
    """A base is not there, damaged, another one than agreed, or does not fit the inputs."""


class RunError(InputError):
    """A folder holds another run, or a stored state cannot be continued."""


class BrokerError(EdgeloopError):
    """The MQTT broker cannot be used; its subclasses say whether time can help."""


class BrokerAwayError(BrokerError, UnavailableError):
    """The MQTT broker cannot be reached, or does not answer."""


class BrokerSetupError(BrokerError, ConfigError):
    """A file or a program that the connection to the MQTT broker needs is wrong."""


class RefusedError(BrokerError):
    """The MQTT broker was reached, and refuses this client."""


class BusyError(RefusedError, UnavailableError):
    """The MQTT broker refuses this client for now."""


class ForbiddenError(RefusedError, InputError):
    """The MQTT broker refuses this client until settings are changed, its own or ours."""
