"""The groups of architectures that clients share out.

The names and orders are HtFLlib's; client i gets entry i mod X. A group with heterogeneous heads
lists every pair of base i mod X and head i mod 4.
"""

from collections.abc import Mapping

from edgeloop.errors import ModelError, choose
from edgeloop.models.architectures import names
from edgeloop.models.layered import spelled, split_name
from edgeloop.models.small import SMALL

_HARCNNS = ("harcnn-s1", "harcnn-s2", "harcnn-s3")
_EIGHT = (
    *("cnn", "googlenet", "mobilenetv2"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
)
_HEADS = ("relu", "relu-512", "relu-256", "relu-128")
_SIZES = (1, 2, 4, 8, 16)

GROUPS: Mapping[str, tuple[str, ...]] = {
    "cnn": ("cnn",),
    "htfe-sen-2": _HARCNNS[:2],
    "htfe-sen-3": _HARCNNS,
    "htfe-sen-5": (*_HARCNNS, "harcnn1-s1", "harcnn3-s1"),
    "htfe-sen-8": (
        *(*_HARCNNS, "harcnn1-s1", "harcnn1-s2", "harcnn1-s3"),
        *("harcnn3-s1", "harcnn3-s2"),
    ),
    "resnets-4": ("resnet4", "resnet6", "resnet8", "resnet10"),
    "small-4": ("cnn", "resnet4", "resnet6", "resnet8"),
    "htcnn8": tuple(SMALL),
    "htfe-img-2": ("cnn", "resnet18"),
    "htfe-img-3": ("resnet10", "resnet18", "resnet34"),
    "htfe-img-4": ("cnn", "googlenet", "mobilenetv2", "resnet18"),
    "htfe-img-5": ("googlenet", "mobilenetv2", "resnet18", "resnet34", "resnet50"),
    "htfe-img-8": _EIGHT,
    "htfe-img-9": ("resnet4", "resnet6", "resnet8", "resnet10", *_EIGHT[3:]),
    "htm-img-10": (*_EIGHT, "vit-b-16+tanh-768", "vit-b-32+tanh-768"),
    "res34-htc-img-4": tuple(f"resnet34+{head}" for head in _HEADS),
    "htfe-img-8-htc-img-4": tuple(f"{base}+{_HEADS[i % 4]}" for i, base in enumerate(_EIGHT)),
    "hcnns-8": (
        *("hcnn1", "cnn", "hcnn1-512", "hcnn2-512", "hcnn1-1024", "hcnn2-1024"),
        *("hcnn1-1024-512", "hcnn2-1024-512"),
    ),
    "htfe-txt-2": ("fasttext", "textlr"),
    "htfe-txt-4": ("fasttext", "textlr", "lstm", "bilstm"),
    "htfe-txt-6": ("fasttext", "lstm", "bilstm", "transformer-l2-h8", "textlr", "gru"),
    "htfe-txt-5-1": tuple(f"transformer-l{n}-h8" for n in _SIZES),
    "htfe-txt-5-2": tuple(f"transformer-l4-h{n}" for n in _SIZES),
    "htfe-txt-5-3": tuple(f"transformer-l{n}-h{n}" for n in _SIZES),
    "mlps": ("mlp", "mlp-500", "mlp-1000-500", "mlp-1000-500-200"),
    "mlp-1layer": ("mlp-200", "mlp-500"),
    "mlp-layers": ("mlp-500", "mlp-1000-500", "mlp-1000-500-200"),
}

ALIASES: Mapping[str, str] = {
    **{f"htfe{n}": f"htfe-img-{n}" for n in (2, 3, 4, 8, 9)},
    "htm10": "htm-img-10",
    "res34-htc4": "res34-htc-img-4",
    "htfe8-htc4": "htfe-img-8-htc-img-4",
    "hcnns8": "hcnns-8",
    "mlp_1layer": "mlp-1layer",
    "mlp_layers": "mlp-layers",
}
"""Groups by the names that papers give them."""

_AUXILIARY: Mapping[str, str] = {"res34-htc-img-4": "cnn+relu"}


def client_architectures(group: str, count: int) -> list[str]:
    """Return the architecture of each of `count` clients: entry i mod X of the group.

    Args:
        group: a name in `GROUPS` or `ALIASES`, or architectures separated by commas; in any case.
        count: the number of clients.

    Raises:
        ModelError: neither a group nor architectures.
    """
    entries = GROUPS.get(_named(group))
    if entries is None:
        entries = tuple(spelled(name) for name in group.split(","))
    unknown = [name for name in entries if split_name(name)[0] not in names()]
    if unknown:
        problem = f"{unknown[0]!r} is neither a group nor an architecture"
        meant = choose(unknown[0], [*GROUPS, *names()])
        lists = f"{', '.join(GROUPS)}, or a comma-separated list of {', '.join(names())}"
        remedy = meant if meant.startswith("did") else f"use {lists}"
        raise ModelError(f"group {group}", problem, remedy)
    return [entries[client % len(entries)] for client in range(count)]


def auxiliary(group: str | None, first: str) -> str:
    """Return the architecture that a group's clients train beside their own, where one does.

    Args:
        group: its name, or None.
        first: the first client's architecture, which it is unless the group says otherwise.
    """
    return _AUXILIARY.get(_named(group or ""), first)


def _named(group: str) -> str:
    name = group.strip().lower()
    return ALIASES.get(name, name)
