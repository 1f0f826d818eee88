"""The report's section on bytes, with the paper's floats beside them."""

from collections.abc import Sequence

from simulations.report import charts
from simulations.report.charts import Series
from simulations.report.markup import UNKNOWN, Html, join_children, missing, paragraph, table, tag
from simulations.report.report_data import ReportData, Traffic

_EXPLAINED = (
    "Bytes are frames as MQTT carries them, without MQTT's own headers. Floats are what papers "
    "count: up, the numbers in the prototypes that a device uploads; down, the numbers in the "
    "broadcast's arrays, images and latents or class prototypes. Labels, counts and accuracies "
    "are bytes, but no floats. A device downloads the broadcast that the round before led to; the "
    "row of the last round is the evaluation, which trains and uploads no prototypes."
)


def section(report_data: ReportData) -> Html:
    """Show bytes and floats, up and down, by device and round."""
    if not report_data.traffic:
        return missing("No device's summary tells its bytes by round.")
    rounds = sorted({number for each in report_data.traffic.values() for number in each})
    sums = [_sum(report_data, number) for number in rounds]
    up = dict(zip(rounds, (each.up for each in sums), strict=True))
    down = dict(zip(rounds, (each.down for each in sums), strict=True))
    lines = [Series("up", up, charts.colour(4, 5)), Series("down", down, charts.colour(2, 5))]
    if not any(down.values()):
        lines = lines[:1]  # an aggregator alone does not know what devices have fetched
    gap = (
        []
        if report_data.history
        else [missing("Floats are counted in the history, and there is none.")]
    )
    return join_children(
        [
            charts.lines("traffic of all devices by round", lines, "bytes"),
            paragraph(_EXPLAINED),
            *gap,
            _totals(report_data, rounds),
            tag("details", tag("summary", "every device and round"), _all(report_data, rounds)),
        ]
    )


def _sum(report_data: ReportData, number: int) -> Traffic:
    found = [each[number] for each in report_data.traffic.values() if number in each]
    return Traffic(sum(each.up for each in found), sum(each.down for each in found))


def floats(report_data: ReportData, device: str, number: int) -> tuple[int | None, int | None]:
    """Count the numbers that a device sent and received in a round; None where nobody knows.

    Before round 0 nothing has been learned, so its broadcast holds no numbers.
    """
    closed = {each.number: each for each in report_data.history}
    if not closed:
        return None, None
    last = number > max(closed)  # the evaluation: no upload
    up = closed[number].floats_up().get(device, 0) if number in closed else 0 if last else None
    if number == 0:
        return up, 0
    return up, closed[number - 1].floats_down() if number - 1 in closed else None


def _totals(report_data: ReportData, rounds: Sequence[int]) -> Html:
    columns = ("device", "bytes up", "floats up", "bytes down", "floats down")
    rows = []
    for name, by_round in report_data.traffic.items():
        pairs = [floats(report_data, name, number) for number in rounds if number in by_round]
        counted = [_total([pair[side] for pair in pairs]) for side in (0, 1)]
        up = f"{sum(each.up for each in by_round.values()):,}"
        down = f"{sum(each.down for each in by_round.values()):,}"
        rows.append([name, up, counted[0], down, counted[1]])
    return table(columns, rows)


def _total(counts: Sequence[int | None]) -> str:
    known = [count for count in counts if count is not None]
    return f"{sum(known):,}" if len(known) == len(counts) else UNKNOWN


def _all(report_data: ReportData, rounds: Sequence[int]) -> Html:
    columns = ("round", "device", "bytes up", "floats up", "bytes down", "floats down")
    rows = []
    for number in rounds:
        for name, by_round in report_data.traffic.items():
            if number in by_round:
                up, down = (_total([count]) for count in floats(report_data, name, number))
                moved = by_round[number]
                rows.append([str(number), name, f"{moved.up:,}", up, f"{moved.down:,}", down])
    return table(columns, rows)
