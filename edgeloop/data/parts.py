"""The parts of a data set by the names that people give them: training, validation, tests."""

import re

# In this order the parts of a data set are pooled.
PARTS = ("train", "val", "test")
_WORDS = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(
        ("val", "valid", "validation", "validating", "dev", "eval", "publictest"), "val"
    ),
    **dict.fromkeys(("test", "testing", "tests", "testset", "privatetest"), "test"),
}


def part_of(name: str) -> str:
    """Return which of `PARTS` a whole name means, in any case: `Training`, `valid`; or nothing."""
    return _WORDS.get(name.lower(), "")


def part_in(name: str) -> str:
    """Return which of `PARTS` a file's name speaks of: `train-00000-of-00002`; or nothing.

    The first word that is a part's counts; a name may also begin with one (`train2`, `val_b`).
    """
    words = re.findall(r"[a-z]+", name.lower())
    begins = [part for part in PARTS if name.startswith(part)]
    return next((part_of(word) for word in words if part_of(word)), begins[0] if begins else "")


def rank(part: str) -> int:
    """Return the place of a part: train 0, val 1, test 2, any other 3."""
    return PARTS.index(part) if part in PARTS else len(PARTS)
