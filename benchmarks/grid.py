"""What the map of exchange is made of: ways to exchange, and settings a factor away from a base.

A full product would be thousands of runs; this varies one factor at a time around two bases on
images, and one on sensor data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop import algorithms
from simulations.settings import RunSettings

ALONE = "Local"
STATISTICS = "class statistics"
WAYS: Mapping[str, Mapping[str, Any]] = {
    ALONE: {"algorithm": "local"},
    "FedAvg": {"algorithm": "fedavg"},
    "FedProto": {"algorithm": "fedproto"},
    "FedTGP": {"algorithm": "fedtgp"},
    "FedKTL, digits": {"algorithm": "fedktl", "generator": "digits"},
    STATISTICS: {"algorithm": "class-statistics"},
}
"""What is compared; with the generator that an algorithm asks, where it asks one."""

EMBEDDED = "fashion-sample"


@dataclass(frozen=True)
class Setting:
    """Devices, their data, and how long they train.

    Attributes:
        factor: what is varied; the heading that the setting stands under.
        value: of the factor, for people.
        data: a folder in the data folder, or `EMBEDDED`.
        options: of the run, of all ways.
        rate: the devices' learning rate.
        seeds: at most.
    """

    factor: str
    value: str
    data: str
    options: Mapping[str, Any]
    rate: float
    seeds: int = 1

    @property
    def is_base(self) -> bool:
        """Whether the others are a factor away from this one."""
        return self in (_FEW, _UNEQUAL, _HAR)

    def but(
        self, factor: str, value: str, changes: Mapping[str, Any], data: str | None = None
    ) -> "Setting":
        """Return a setting that differs from this one in a factor, of one seed."""
        return Setting(factor, value, data or self.data, {**self.options, **changes}, self.rate)


IMAGES_FEW, IMAGES_UNEQUAL, SENSORS = (
    "Images, few each",
    "Images, unequal shares",
    "Sensor data",
)
_FEW = Setting(
    f"{IMAGES_FEW}: samples a device",
    "20 (2 of each class)",
    EMBEDDED,
    {
        **{"partition": "iid", "balanced": True, "clients": 10, "samples": 3_000, "shots": 2},
        **{"models": "cnn-flat2", "width": 32, "rounds": 20},
    },
    rate=0.1,
    seeds=3,
)
_UNEQUAL = Setting(
    f"{IMAGES_UNEQUAL}: skew",
    "Dirichlet 0.1",
    EMBEDDED,
    {
        **{"partition": "dirichlet", "alpha": 0.1, "clients": 10, "samples": 2_000},
        **{"models": "cnn-wide1", "width": 32, "rounds": 10},
    },
    rate=0.1,
    seeds=3,
)
_HAR = Setting(
    f"{SENSORS}: windows a device",
    "30 (5 of each class)",
    "har",
    {"layout": "signal", "shots": 5, "models": "harcnn-s3", "width": 32, "rounds": 20},
    rate=0.2,
    seeds=3,
)
_FOUR = "cnn-wide1,cnn-flat2,cnn-strided3,cnn-pointwise6"
_SIZES, _SKEW, _HAR_SIZES = _FEW.factor, _UNEQUAL.factor, _HAR.factor
_DEVICES = f"{IMAGES_FEW}: number of devices"
_MIX, _CLASSES = "mix of architectures", f"{IMAGES_UNEQUAL}: colour, and classes"

SETTINGS: Mapping[str, Setting] = {
    "few": _FEW,
    "unequal": _UNEQUAL,
    "har-30": _HAR,
    "few-5": _FEW.but(
        _SIZES,
        "5 (1 of each of 5 classes)",
        {"partition": "pathological", "classes_per_client": 5, "shots": 1, "batch_size": 5},
    ),
    "pathological": _UNEQUAL.but(_SKEW, "two classes a device", {"partition": "pathological"}),
    "few-devices-5": _FEW.but(_DEVICES, "5", {"clients": 5}),
    "few-100": _FEW.but(_SIZES, "100 (10 of each class); 10 rounds", {"shots": 10, "rounds": 10}),
    "har-6": _HAR.but(_HAR_SIZES, "6 (1 of each class)", {"shots": 1, "batch_size": 6}),
    "iid": _UNEQUAL.but(_SKEW, "equal shares", {"partition": "iid", "balanced": True}),
    "few-mixed": _FEW.but(f"{IMAGES_FEW}: {_MIX}", "four, in turn", {"models": _FOUR}),
    "har-all": _HAR.but(_HAR_SIZES, "258 on average, all; 5 rounds", {"shots": None, "rounds": 5}),
    "cifar10": _UNEQUAL.but(_CLASSES, "CIFAR-10, 10 classes", {}, "cifar10"),
    "few-devices-50": _FEW.but(
        _DEVICES, "50; 10 rounds", {"clients": 50, "samples": 6_000, "rounds": 10}
    ),
    "few-450": _FEW.but(
        _SIZES,
        "450 (45 of each class); 3 rounds",
        {"samples": 6_000, "shots": 45, "rounds": 3},
    ),
    "unequal-mixed": _UNEQUAL.but(f"{IMAGES_UNEQUAL}: {_MIX}", "four, in turn", {"models": _FOUR}),
    "dirichlet-1": _UNEQUAL.but(_SKEW, "Dirichlet 1.0", {"alpha": 1.0}),
    "har-100": _HAR.but(
        _HAR_SIZES, "102 (17 of each class); 10 rounds", {"shots": 17, "rounds": 10}
    ),
    "cifar100": _UNEQUAL.but(_CLASSES, "CIFAR-100, 100 classes", {}, "cifar100"),
    "few-devices-200": _FEW.but(
        _DEVICES, "200; 5 rounds", {"clients": 200, "samples": 6_000, "rounds": 5}
    ),
}
"""By name, in the order in which they run: those that most is to be learned from come first."""


def title(setting: Setting) -> str:
    """Return a setting's name for people."""
    return f"{setting.factor.partition(':')[0]}, {setting.value}"


def ways(setting: Setting) -> list[str]:
    """Return the ways that a setting's devices can take: FedAvg wants one architecture."""
    alike = "," not in setting.options["models"]
    return [way for way in WAYS if alike or way != "FedAvg"]


def mixes(way: str) -> bool:
    """Return whether a way's devices end with a network that they may mix with one alone.

    With class statistics they mix anyway.
    """
    return way not in (ALONE, STATISTICS)


def settings_of(setting: Setting, way: str, seed: int, mix: bool, source: Path) -> RunSettings:
    """Return one run's settings; each seed has its own partition, too.

    Args:
        setting: the devices.
        way: of `WAYS`.
        seed: the run's.
        mix: whether each device ends with a weight of its own.
        source: the folder of the data folders.
    """
    chosen = WAYS[way]
    own = algorithms.supported_options(chosen["algorithm"], local_lr=setting.rate)
    options = dict(setting.options)
    if algorithms.info(chosen["algorithm"]).base:
        options.pop("rounds")  # one exchange
    return RunSettings.model_validate(
        {
            **{"data": _data(setting, source), "seed": seed, "partition_seed": seed + 1},
            **{"workers": 1, "mix": "auto" if mix else "never", "robust": "none"},
            **options,
            **chosen,
            "options": own,
        }
    )


def _data(setting: Setting, source: Path) -> str:
    return EMBEDDED if setting.data == EMBEDDED else str(source / setting.data)
