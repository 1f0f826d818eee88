"""The report's sections, each from one piece of the story.

Shape suffixes: N uploaded prototypes, D their entries, C classes.
"""

import numpy as np

from edgeloop.showing import pictures
from simulations.report import charts
from simulations.report.charts import Mark, Series
from simulations.report.markup import UNKNOWN, Html, join_children, missing, paragraph, table, tag
from simulations.report.report_data import Device, ReportData, Round

ALONE, FEDERATED = "var(--alone)", "var(--federated)"  # the page's own, for light and for dark
COLOURS = {"alone": ALONE, "federated": FEDERATED}


def accuracy(report_data: ReportData) -> Html:
    """Draw accuracy over rounds, alone and federated."""
    curves = {"alone": report_data.alone, "federated": report_data.federated}
    shown = [
        Series(name, points, COLOURS[name], dashed=name == "alone")
        for name, points in curves.items()
        if points
    ]
    if not shown:
        return missing("Neither run tells its accuracy by round.")
    lasts = [f"{each.name} {list(each.points.values())[-1]:.3f}" for each in shown]
    others = [name for name, points in curves.items() if not points]
    gaps = [missing(f"The run {name} tells no accuracy by round.") for name in others]
    label = "test accuracy of all devices, weighted by their test samples"
    return join_children(
        [
            paragraph("After the last round: ", tag("strong", ", ".join(lasts)), "."),
            *(paragraph(each) for each in _in_use(report_data)),
            *(paragraph(each) for each in report_data.more_facts),
            charts.lines(label, shown, "share of test samples", top=1.0),
            *gaps,
        ]
    )


def _in_use(report_data: ReportData) -> list[str]:
    """Say what the devices put into use, where that is not the run's model alone."""
    if report_data.in_use is None:
        return []
    together, alone = report_data.in_use
    return [
        f"In use: alone {alone:.3f}, federated {together:.3f}. A device uses a mixture of the run's"
        " model and one that it has trained alone; the curves are of the run's model."
    ]


def devices(report_data: ReportData) -> Html:
    """Draw every device's accuracies, and list what it has."""
    if not report_data.devices:
        return missing("No device has left a summary.")
    columns = ["device", "gain", "alone", "federated", "model", "train", "test"]
    rows = [_device(device) for device in report_data.devices]
    if any(device.network is not None for device in report_data.devices):
        columns.append("the run's model, not mixed")
        for row, device in zip(rows, report_data.devices, strict=True):
            row.append(_share(device.network))
    groups = {device.name: _accuracies(device) for device in report_data.devices}
    drawn = {name: values for name, values in groups.items() if values}
    label = "accuracy on each device's own test data, after the last round"
    chart = charts.bars(label, drawn, COLOURS) if drawn else missing("No accuracy is known.")
    return join_children([chart, table(columns, rows)])


def _accuracies(device: Device) -> dict[str, float]:
    found = {"alone": device.alone, "federated": device.federated}
    return {name: value for name, value in found.items() if value is not None}


def _device(device: Device) -> list[str]:
    alone, federated = device.alone, device.federated
    gain = UNKNOWN if alone is None or federated is None else f"{federated - alone:+.3f}"
    counts = (device.train_samples, device.test_samples)
    return [
        device.name,
        gain,
        *(_share(value) for value in (alone, federated)),
        device.architecture or UNKNOWN,
        *(UNKNOWN if count is None else f"{count:,}" for count in counts),
    ]


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3f}"


def images(report_data: ReportData) -> Html:
    """Show the image of every class in up to twelve rounds."""
    rounds = [each for each in report_data.history if each.images is not None]
    if not rounds:
        return missing(_no_images(report_data))
    size = int(np.prod(report_data.shape))
    if not report_data.shape or any(_row_size(each) != size for each in rounds):
        return missing("The aggregator's configuration does not tell the shape of these images.")
    shown = [rounds[place] for place in pictures.evenly_spaced(len(rounds))]
    classes = max(_count(each) for each in shown)
    rows = [
        [report_data.class_name(label), *(_image(report_data, each, label) for each in shown)]
        for label in range(classes)
    ]
    heads = ["class", *(f"round {each.number}" for each in shown)]
    explained = (
        "What the generator makes of the class prototypes that each round's devices uploaded. "
        "A column is the broadcast that the round led to. They need not look like their classes: a"
        " generator of faces or of digits gives every class a face or a digit of its own, and that"
        " is enough. Each image comes with its latent vector, and devices train their extractor to"
        " map the image to it: so all of them learn one common space, in which the classes lie"
        " where the generator has put them, and take over what it knows of images in general. What"
        " counts is that the classes' images differ from one another and stay the same over the"
        " last rounds."
    )
    return join_children([paragraph(explained), tag("div", table(heads, rows), class_="images")])


def _no_images(report_data: ReportData) -> str:
    if not report_data.history:
        return _NO_HISTORY
    return "This run's broadcasts hold no images: only an algorithm with a generator sends some."


_NO_HISTORY = (
    "The aggregator kept no history of its rounds; `history = true` in its configuration asks "
    "for it."
)


def _row_size(each: Round) -> int:
    images_NP = each.images
    return -1 if images_NP is None or images_NP.dtype != np.uint8 else images_NP[0].size


def _count(each: Round) -> int:
    return 0 if each.images is None else len(each.images)


def _image(report_data: ReportData, each: Round, label: int) -> Html:
    images_NP = each.images
    if images_NP is None or label >= len(images_NP):
        return Html(UNKNOWN)
    name = f"{report_data.class_name(label)}, round {each.number}"
    return tag(
        "img", src=pictures.picture(images_NP[label], report_data.shape), alt=name, title=name
    )


def prototypes(report_data: ReportData) -> Html:
    """Draw a map of the last uploaded prototypes."""
    rounds = [each for each in report_data.history if len(each.arrays.get("prototypes", ()))]
    if not rounds:
        return missing(_no_prototypes(report_data))
    last = rounds[-1]
    points_ND = last.arrays["prototypes"].astype(np.float64)
    if not np.isfinite(points_ND).all():
        return missing(f"A prototype of round {last.number} holds an entry that is not finite.")
    subject = (
        f"The {len(points_ND)} prototypes of {points_ND.shape[1]} entries that the devices uploaded"
    )
    return prototype_map(
        report_data,
        last,
        f"{subject} in round {last.number}",
        f"uploaded prototypes of round {last.number}",
    )


def prototype_map(report_data: ReportData, last: Round, subject: str, label: str) -> Html:
    """Draw a round's prototypes on the plane of their first two principal components.

    Args:
        report_data: of the run.
        last: has prototypes that are finite.
        subject: what they are, as the subject of a sentence.
        label: the same in a few words.
    """
    marks, shares_2 = _map(report_data, last, last.arrays["prototypes"].astype(np.float64))
    explained = (
        f"{subject}, on the plane of their first two principal components, "
        f"which holds {sum(shares_2):.0%} of their variance. What is near on the map need not be "
        "near in all entries."
    )
    chart = charts.scatter(label, marks)
    return join_children([paragraph(explained), chart, *_legends(report_data, last, marks)])


def _no_prototypes(report_data: ReportData) -> str:
    return "No device of this run uploaded prototypes." if report_data.history else _NO_HISTORY


def _map(
    report_data: ReportData, last: Round, points_ND: pictures.Array
) -> tuple[list[Mark], list[float]]:
    """Return the uploads' marks, then the broadcast's; and the shares of the two axes."""
    plane = pictures.plane(points_ND)
    classes = _classes(report_data, last)
    labels, owners = last.arrays["labels"].tolist(), last.arrays["devices"].tolist()
    marks = [
        Mark(
            place,
            f"{last.devices[owner]}, {report_data.class_name(label)}",
            charts.colour(label, classes),
            owner,
        )
        for place, label, owner in zip(_places(plane, points_ND), labels, owners, strict=True)
    ]
    for label, each_D in last.global_prototypes().items():
        if each_D.shape == plane.mean_D.shape and np.isfinite(each_D).all():
            place = _places(plane, each_D[None])[0]
            title = f"broadcast, {report_data.class_name(label)}"
            marks.append(Mark(place, title, charts.colour(label, classes)))
    return marks, plane.shares_2.tolist()


def _places(plane: pictures.Plane, points_ND: pictures.Array) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in plane.project(points_ND)]


def _classes(report_data: ReportData, last: Round) -> int:
    labels = (*last.arrays["labels"].tolist(), *last.global_prototypes())
    return max(len(report_data.class_names), *(int(label) + 1 for label in labels))


def _legends(report_data: ReportData, last: Round, marks: list[Mark]) -> list[Html]:
    """Say which colour is which class, and which marker which device."""
    classes = _classes(report_data, last)
    colours = charts.legend(
        (report_data.class_name(label), charts.colour(label, classes), charts.SHAPES[1], False)
        for label in sorted(set(last.arrays["labels"].tolist()))
    )
    owners = enumerate(last.devices)
    entries = [(name, "currentColor", *charts.shape(number)) for number, name in owners]
    crosses = any(mark.marker is None for mark in marks)
    extra = [("broadcast's prototype", "currentColor", charts.CROSS, True)] if crosses else []
    again = 2 * len(charts.SHAPES)
    note = f"Markers come again after {again} devices; point at one to read its name."
    notes = [paragraph(note)] if len(last.devices) > again else []
    return [colours, charts.legend([*entries, *extra]), *notes]


def timings(report_data: ReportData) -> Html:
    """List what took how long, and draw it over rounds where that is known."""
    if not report_data.timings:
        return missing("No run tells how long it took.")
    rows = [
        [each.name, f"{each.seconds:.2f}", _mean(dict(each.by_round))]
        for each in report_data.timings
    ]
    columns = ("what", "seconds in all", "mean of a round")
    drawn = [each for each in report_data.timings if each.by_round]
    series = [
        Series(each.name, each.by_round, charts.colour(place, len(drawn)))
        for place, each in enumerate(drawn)
    ]
    chart = [charts.lines("time by round", series, "seconds")] if series else []
    explained = (
        "Devices' training and evaluation are summed over devices and divided by the processes "
        "that worked side by side."
    )
    whole = [] if any(each.name.startswith("federated") for each in drawn) else [_UNTIMED]
    return join_children([paragraph(explained), *chart, table(columns, rows), *whole])


_UNTIMED = missing("The aggregator's summary does not tell how long its rounds took.")


def _mean(by_round: dict[int, float]) -> str:
    return f"{np.mean(list(by_round.values())):.2f}" if by_round else UNKNOWN


def facts(report_data: ReportData) -> Html:
    """List the facts."""
    if not report_data.facts:
        return missing("The run tells no facts about itself.")
    rows = [[name, value] for name, value in report_data.facts.items()]
    return tag("div", table(("fact", "value"), rows), class_="facts")
