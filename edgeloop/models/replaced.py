"""The classifiers that the unified heads replace: drawn and dropped, as the reference does.

HtFLlib builds an architecture whole, throws its classifier away and draws the head behind it. So a
seed's head, and with it every accuracy of a run, is the reference's only if the same numbers have
been drawn before it.
"""

from itertools import pairwise

from torch import nn


def draw_replaced(*widths: int) -> None:
    """Draw the weights of linear layers of these widths, and drop them."""
    for inputs, outputs in pairwise(widths):
        nn.Linear(inputs, outputs)
