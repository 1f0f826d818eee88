"""The groups of architectures that clients share out: client i gets entry i mod X.

Source: the groups of HtFLlib, FedTGP and FedKTL, by HtFLlib's names.
"""

from collections.abc import Mapping, Sequence
from math import lcm

from edgeloop.errors import ModelError
from edgeloop.models.architectures import ARCHITECTURES, HIDDEN, MLPS, nearest, parts
from edgeloop.models.small import SMALL

_HARCNNS = ("harcnn-s1", "harcnn-s2", "harcnn-s3")
_EIGHT = (
    *("cnn", "googlenet", "mobilenetv2", "resnet18"),
    *("resnet34", "resnet50", "resnet101", "resnet152"),
)
_RELU_HEADS = ("relu", "relu-512", "relu-256", "relu-128")
_TEXTS = ("fasttext", "textlr", "lstm", "bilstm")


def _with_heads(bases: Sequence[str], heads: Sequence[str]) -> tuple[str, ...]:
    """Return base i mod X with head i mod Y, until the pairs repeat."""
    number = lcm(len(bases), len(heads))
    return tuple(f"{bases[i % len(bases)]}+{heads[i % len(heads)]}" for i in range(number))


def _mlps(*positions: int) -> tuple[str, ...]:
    return tuple("-".join(["mlp", *map(str, MLPS[position])]) for position in positions)


GROUPS: Mapping[str, tuple[str, ...]] = {
    "cnn": ("cnn",),
    "htcnn8": SMALL,
    "small-4": ("cnn", "resnet4", "resnet6", "resnet8"),
    "resnets-4": ("resnet4", "resnet6", "resnet8", "resnet10"),
    "hcnns-8": tuple("-".join([f"hcnn{n}", *map(str, h)]) for h in HIDDEN for n in (1, 2)),
    "htfe-sen-2": _HARCNNS[:2],
    "htfe-sen-3": _HARCNNS,
    "htfe-sen-5": (*_HARCNNS, "harcnn1-s1", "harcnn3-s1"),
    "htfe-sen-8": (
        *(*_HARCNNS, "harcnn1-s1", "harcnn1-s2", "harcnn1-s3"),
        *("harcnn3-s1", "harcnn3-s2"),
    ),
    "htfe-img-2": ("cnn", "resnet18"),
    "htfe-img-3": ("resnet10", "resnet18", "resnet34"),
    "htfe-img-4": _EIGHT[:4],
    "htfe-img-5": ("googlenet", "mobilenetv2", "resnet18", "resnet34", "resnet50"),
    "htfe-img-8": _EIGHT,
    "htfe-img-9": (
        *("resnet4", "resnet6", "resnet8", "resnet10", "resnet18", "resnet34"),
        *("resnet50", "resnet101", "resnet152"),
    ),
    "htm-img-10": _with_heads((*_EIGHT, "vit-b-16", "vit-b-32"), ("tanh-768",)),
    "res34-htc-img-4": _with_heads(("resnet34",), _RELU_HEADS),
    "htfe-img-8-htc-img-4": _with_heads(_EIGHT, _RELU_HEADS),
    "htfe-txt-2": _TEXTS[:2],
    "htfe-txt-4": _TEXTS,
    "htfe-txt-6": ("fasttext", "lstm", "bilstm", "transformer-2-8", "textlr", "gru"),
    "htfe-txt-5-1": tuple(f"transformer-{layers}-8" for layers in (1, 2, 4, 8, 16)),
    "htfe-txt-5-2": tuple(f"transformer-4-{heads}" for heads in (1, 2, 4, 8, 16)),
    "htfe-txt-5-3": tuple(f"transformer-{both}-{both}" for both in (1, 2, 4, 8, 16)),
    "mlps": _mlps(0, 1, 2, 3),
    "mlp-1layer": _mlps(4, 1),
    "mlp-layers": _mlps(1, 2, 3),
}

ALIASES: Mapping[str, str] = {
    **{f"htfe{number}": f"htfe-img-{number}" for number in (2, 3, 4, 5, 8, 9)},
    "htm10": "htm-img-10",
    "res34-htc4": "res34-htc-img-4",
    "htfe8-htc4": "htfe-img-8-htc-img-4",
    "hcnns8": "hcnns-8",
}
"""The papers' names of groups."""


def members(group: str, count: int) -> list[str]:
    """Return the architecture of each of `count` clients: entry i mod X of the group.

    Args:
        group: a name in `GROUPS` or `ALIASES`, or architectures separated by commas; in any case.
        count: the number of clients.

    Raises:
        ModelError: neither a group nor architectures.
    """
    name = group.strip().lower()
    entries = GROUPS.get(ALIASES.get(name, name))
    if entries is None:
        entries = tuple(_entry(group, word) for word in name.split(","))
    return [entries[client % len(entries)] for client in range(count)]


def _entry(group: str, word: str) -> str:
    try:
        base, head = parts(word)
    except ModelError as error:
        problem = f"{word.strip()!r} is neither a group nor an architecture"
        remedy = nearest(word.strip(), (*GROUPS, *ALIASES, *ARCHITECTURES))
        raise ModelError(f"group {group}", problem, remedy) from error
    return f"{base}+{head}" if head else base
