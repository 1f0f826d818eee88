"""The report of simulated runs: what they reached, who gained, who has what, what it took."""

from collections.abc import Mapping, Sequence

from simulations.report import charts, knowledge, losses, tables
from simulations.report.bubbles import bubbles
from simulations.report.charts import Series
from simulations.report.markup import Html, join_children, missing, paragraph, tag
from simulations.report.overview import megabytes
from simulations.report.page import assemble
from simulations.results import pairing
from simulations.results.groups import Group
from simulations.results.seed_statistics import describe_values

ALONE = "var(--alone)"
BARS, MOST = 6, 40
"""Groups and clients that a chart of bars can hold; the table has all."""
ROWS = 100
"""Clients that a chart of discs can hold."""
PALETTE = (0, 2, 4, 3, 6, 9, 7, 8)
"""The charts' colours in an order that keeps away from Local's."""
LOUD = (
    "These runs are of different partitions: clients of one name hold other samples, and "
    "accuracies are of other test samples."
)


def render(groups: Sequence[Group]) -> str:
    """Return the report of groups of runs as HTML that refers to nothing outside itself.

    Raises:
        RunError: if a file of a run is damaged.
    """
    stories = [knowledge.load_report_data(group.runs[0]) for group in groups]
    images = knowledge.images(groups, stories)
    paid = verdicts(groups)
    sections = {
        **({} if paid is None else {_question(groups): paid}),
        "Accuracy": accuracy(groups),
        **losses.sections(groups, colours(groups)),
        "Every client": clients(groups),
        "Who has what": partitions(groups),
        "A map of the prototypes": knowledge.maps(groups, stories),
        **({} if images is None else {"What the generator makes of every class": images}),
        "Bytes": join_children([_by_round("bytes", groups), tables.traffic(groups)]),
        "Time": join_children([_by_round("seconds", groups), tables.seconds(groups)]),
        "Settings": tables.settings(groups),
    }
    above = _above(groups, decided=paid is not None)
    return assemble(title(groups), sections, above, tiles(groups))


def title(groups: Sequence[Group]) -> str:
    """Return the page's title: the algorithms and their data."""
    names = dict.fromkeys(group.runs[0].title for group in groups)
    data = dict.fromkeys(group.runs[0].data for group in groups)
    return f"{', '.join(names)} on {', '.join(data)}"


def _above(groups: Sequence[Group], *, decided: bool) -> Html:
    """Return what stands first: that partitions differ, that nobody knows whether it paid."""
    alike = len({group.fingerprint for group in groups}) == 1
    loud = [] if alike else [tag("p", LOUD, class_="loud")]
    unknown = [] if decided or is_local(groups[0]) else [tag("p", _ALONE_UNKNOWN, class_="lead")]
    return join_children([*loud, *unknown])


_ALONE_UNKNOWN = (
    "Whether taking part paid is not known: no other run is beside this one. Run Local on the same "
    "data (edgeloop simulate local, or --beside local), and give both folders."
)


def tiles(groups: Sequence[Group]) -> dict[str, str]:
    """Return the numbers that count: of the best setting, and of Local."""
    shared = [group for group in groups if not is_local(group)] or list(groups)
    best = max(shared, key=lambda group: group.final_accuracy)
    found = {f"last accuracy of {best.name}": f"{best.final_accuracy:.1%}"}
    own = [each for each in groups if is_local(each) and each.fingerprint == best.fingerprint]
    if own and own[0] is not best:
        gain = 100 * (best.final_accuracy - own[0].final_accuracy)
        found |= {"Local's": f"{own[0].final_accuracy:.1%}", "gained": f"{gain:+.1f} points"}
        alone = own[0].by_client()
        better = sum(value > alone[name] for name, value in best.by_client().items())
        found["clients better than alone"] = f"{better} of {len(alone)}"
    summary = best.runs[0].summary
    moved = summary.bytes_up_per_client + summary.bytes_down_per_client
    found["of a client and round, up and down"] = megabytes(moved)
    return found | {"runs": str(sum(len(group.runs) for group in groups))}


def colours(groups: Sequence[Group]) -> dict[str, str]:
    """Return a colour for every group's name; Local's is the one of learning alone."""
    others = [group for group in groups if not is_local(group)]
    order = PALETTE if len(others) <= len(PALETTE) else range(len(others))
    count = len(others) if len(others) > len(PALETTE) else len(PALETTE)
    found = {
        group.name: charts.colour(number, count)
        for group, number in zip(others, order, strict=False)
    }
    return {group.name: found.get(group.name, ALONE) for group in groups}


def is_local(group: Group) -> bool:
    """Return whether a group's clients learn alone."""
    return bool(group.settings["algorithm"] == "local")


def verdicts(groups: Sequence[Group]) -> Html | None:
    """Say of each group whether taking part paid, by Local of its partition; None without any.

    Where there is no Local, the first group of the partition is what the others are beside.
    """
    pieces = [
        paragraph(*_named(group, several=len(groups) > 2), _verdict(group, each[0]))
        for each in _by_partition(groups)
        for group in each[1:]
    ]
    return join_children(pieces) if pieces else None


def _question(groups: Sequence[Group]) -> str:
    return "Did it pay?" if any(is_local(group) for group in groups) else "Which is better?"


def _verdict(group: Group, first: Group) -> str:
    return pairing.compare_runs(group.runs, first.runs, (group.name, first.name)).sentence


def _named(group: Group, several: bool) -> list[str]:
    return [tag("strong", group.name), ": "] if several else []


def accuracy(groups: Sequence[Group]) -> Html:
    """Draw accuracy over rounds, a band of one standard deviation around it, and list it."""
    paint = colours(groups)
    series = [_curve(group, paint[group.name]) for group in groups]
    label = "test accuracy of all clients, weighted by their test samples"
    several = any(len(group.runs) > 1 for group in groups)
    band = "; bands: one standard deviation of the seeds around their mean" if several else ""
    chart = charts.lines(label + band, series, "share of test samples", top=1.0)
    return join_children([chart, tables.accuracies(groups)])


def _curve(group: Group, colour: str) -> Series:
    found = {number: describe_values(values) for number, values in group.curves().items()}
    points = {number: each["mean"] for number, each in found.items()}
    band = {
        number: (max(0.0, each["mean"] - each["std"]), min(1.0, each["mean"] + each["std"]))
        for number, each in found.items()
        if each["std"] is not None
    }
    return Series(group.name, points, colour, is_local(group), band)


def clients(groups: Sequence[Group]) -> Html:
    """Draw every client's accuracy, partition by partition, beside its own without the others."""
    parts, paint = _by_partition(groups), colours(groups)
    return join_children(
        [join_children([*_heading(each, len(parts) > 1), _clients(each, paint)]) for each in parts]
    )


def _heading(groups: Sequence[Group], wanted: bool) -> list[Html]:
    return [tag("h3", "; ".join(group.name for group in groups))] if wanted else []


def _by_partition(groups: Sequence[Group]) -> list[list[Group]]:
    found: dict[str, list[Group]] = {}
    for group in groups:
        found.setdefault(group.fingerprint, []).append(group)
    return [sorted(each, key=lambda group: not is_local(group)) for each in found.values()]


def _clients(groups: Sequence[Group], paint: Mapping[str, str]) -> Html:
    names = groups[0].clients
    values = {group.name: group.by_client() for group in groups[:BARS]}
    bars = {
        client: {name: by_client[client] for name, by_client in values.items()}
        for client in names[:MOST]
    }
    label = "each client's accuracy on its own test samples, after the last round"
    pieces = [] if is_local(groups[0]) else [missing(_NO_LOCAL)]
    cut = len(names) > MOST or len(groups) > BARS
    few = [paragraph(f"The first {len(values)} settings, {len(bars)} clients.")] if cut else []
    used = {name: paint[name] for name in values}
    return join_children([*pieces, *few, charts.bars(label, bars, used), tables.clients(groups)])


_NO_LOCAL = (
    "No run of Local on this partition is among the folders, so nobody knows what a client would "
    "have reached alone."
)


def partitions(groups: Sequence[Group]) -> Html:
    """Draw who has what, once a partition."""
    parts = _by_partition(groups)
    return join_children(
        [join_children([*_heading(each, len(parts) > 1), _partition(each)]) for each in parts]
    )


def _partition(groups: Sequence[Group]) -> Html:
    found = groups[0].runs[0].partition()
    if found is None:
        return missing(f"{groups[0].name} did not keep its partition.json.")
    names = list(found.clients)[:ROWS]
    counts = [
        [sum(pair) for pair in zip(*found.clients[name].values(), strict=True)] for name in names
    ]
    cut = len(names) < len(found.clients)
    some = f", the first {len(names)} of {len(found.clients)} clients" if cut else ""
    label = f"training and test samples of each class that each client has{some}"
    return bubbles(label, names, found.class_names, counts, "var(--federated)")


def _by_round(what: str, groups: Sequence[Group]) -> Html:
    """Draw bytes, or seconds, of all rounds so far, the mean of a group's runs."""
    paint = colours(groups)
    series = [
        Series(group.name, _sums(group, _COLUMNS[what]), paint[group.name], is_local(group))
        for group in groups
    ]
    return charts.lines(_LABELS[what], series, what)


_COLUMNS = {"bytes": ("bytes_up", "bytes_down"), "seconds": ("seconds",)}
_LABELS = {
    "bytes": "bytes that all clients sent and got, summed over the rounds so far",
    "seconds": "wall time of the rounds so far",
}


def _sums(group: Group, columns: Sequence[str]) -> dict[int, float]:
    tables_ = [run.columns(columns) for run in group.runs]
    rounds = sorted(set.intersection(*(set(each[columns[0]]) for each in tables_)))
    total, found = 0.0, {}
    for number in rounds:
        values = [each[column][number] for each in tables_ for column in columns]
        total += sum(values) / len(tables_)
        found[number] = total
    return found
