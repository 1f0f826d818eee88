"""What a report says first: whether it paid and how sure that is, and the numbers that count."""

from collections.abc import Mapping

from simulations.report.markup import Html, tag
from simulations.report.report_data import ReportData

NOBODY_KNOWS = (
    "Whether taking part paid is not known: that takes a run of Local on the same data, and how "
    "many test samples each device has (edgeloop simulate local, and --beside)."
)


def lead(report_data: ReportData) -> Html:
    """Return the sentence on whether taking part paid, with its interval; or why nobody knows."""
    return tag("p", report_data.verdict or NOBODY_KNOWS, class_="lead")


def tiles(report_data: ReportData) -> dict[str, str]:
    """Return the numbers that count, as far as they are known."""
    lasts = _last(report_data.federated), _last(report_data.alone)
    together, alone = report_data.in_use or lasts
    found = {}
    if together is not None:
        found["accuracy together"] = f"{together:.1%}"
    if alone is not None:
        found["accuracy alone"] = f"{alone:.1%}"
    if together is not None and alone is not None:
        found["gained"] = f"{100 * (together - alone):+.1f} points"
    pairs = [(each.federated, each.alone) for each in report_data.devices]
    known = [(ours, own) for ours, own in pairs if ours is not None and own is not None]
    if known:
        better = sum(ours > own for ours, own in known)
        found["devices better than alone"] = f"{better} of {len(known)}"
    elif report_data.devices:
        found["devices"] = str(len(report_data.devices))
    moved = [each for rounds in report_data.traffic.values() for each in rounds.values()]
    if moved:
        found["sent by all devices"] = megabytes(sum(each.up for each in moved))
    if report_data.timings:
        found[report_data.timings[0].name] = f"{report_data.timings[0].seconds:.0f} s"
    return found


def megabytes(count: float) -> str:
    """Return bytes as a person reads them."""
    return f"{count / 1e6:.3g} MB" if count >= 1e5 else f"{count / 1e3:.3g} kB"


def _last(by_round: Mapping[int, float]) -> float | None:
    return by_round[max(by_round)] if by_round else None
