"""What samples look like, said where it is legal and seldom meant."""

import logging

from edgeloop.data.samples import Inputs

log = logging.getLogger(__name__)

_BYTES = 32  # a mean and a deviation leave no pixel above it
_FLAT = 2  # times: how much longer one side of a picture may be than the other
_COLOURS = (1, 3, 4)


def log_looks(name: str, inputs: Inputs) -> None:
    """Say what is odd about samples (N, channels, height, width); of other shapes say nothing.

    Pixels that were not scaled, windows of sensors that pass for pictures of one colour, and slices
    or frames that pass for colours.

    Args:
        name: the source, for messages.
        inputs: as `archives.to_inputs` returns them.
    """
    if inputs.ndim != 4 or not inputs.size or min(inputs.shape[2:]) < 2:
        return
    colours, high, wide = inputs.shape[1:]
    if inputs.dtype == "uint8":
        if colours not in _COLOURS:
            text = "%s: is read as images of %d colours, %d x %d; take one slice or frame of each"
            log.warning(text, name, colours, high, wide)
        return
    largest = inputs.max()
    if colours in _COLOURS and inputs.min() >= 0 and largest >= _BYTES:
        text = (
            "%s: its images have values up to %g, and a model gets them so: store uint8, or divide"
        )
        log.warning(text, name, largest)
    elif colours == 1 and max(high, wide) >= _FLAT * min(high, wide):
        text = (
            "%s: is read as images of one colour, %d x %d; store windows of sensors as"
            " (N, channels, 1, steps)"
        )
        log.warning(text, name, high, wide)
