"""Errors that a user caused and can fix.

    InputError(ValueError)     the command ends with exit code 2 and one clear sentence
    ├── ConfigError            a configuration file, a flag, a hyperparameter
    ├── DataError              a data set, an image, a partition
    │   └── MisfitError        sound data, and not what the task is about
    ├── ModelError             a model that does not exist or does not fit its data
    ├── BrokerError            an MQTT broker that cannot be reached
    │   └── RefusedError       one that says no
    ├── BaseError              a base (frozen extractor of features) that is damaged, or another one
    ├── GeneratorError         a generator that is damaged, another one, or cannot be reached
    └── RunError               an output folder that holds another run, a state that cannot continue

What a peer sends is never an `InputError`: see `edgeloop.protocol.wire.WireError`.
"""


class InputError(ValueError):
    """Bad input: names the field, says what is wrong with it, and what to do.

    Args:
        field: what is wrong, as its user wrote it: a flag, a key, a path.
        problem: what is wrong with it, a clause without a full stop.
        remedy: what to do about it, an imperative clause without a full stop.
    """

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(f"{field}: {problem}; {remedy}")
        self.field = field
        self.problem = problem
        self.remedy = remedy

    def within(self, place: str) -> "InputError":
        """Return the same error, which says first where among many it is."""
        return type(self)(f"{place}: {self.field}", self.problem, self.remedy)

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.field, self.problem, self.remedy)


class ConfigError(InputError):
    """A configuration file, a flag or a hyperparameter is wrong."""


class DataError(InputError):
    """A data set, an image or a partition is wrong."""


class MisfitError(DataError):
    """Data that can be read, and is not what the task is about."""


class ModelError(InputError):
    """A model does not exist, or does not fit its data."""


class BrokerError(InputError):
    """The MQTT broker cannot be reached, or refuses this client."""


class RefusedError(BrokerError):
    """The MQTT broker was reached, and refuses this client."""


class GeneratorError(InputError):
    """A generator is not there, damaged, another one than agreed, or cannot be reached."""


class BaseError(InputError):
    """A base is not there, damaged, another one than agreed, or does not fit the inputs."""


class RunError(InputError):
    """A folder holds another run, or a stored state cannot be continued."""
