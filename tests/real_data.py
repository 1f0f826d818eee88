"""Real data sets, which are no part of this project: a test of theirs is skipped without them."""

import os
from pathlib import Path

import pytest

HERE = "../shared/data or $EDGELOOP_DATA"
BESIDE = Path(__file__).parents[2] / "shared" / "data"


def place(name: str, *files: str) -> Path:
    """Return where a data set is; where it or one of its files is missing, skip, in one line."""
    folder = Path(os.environ.get("EDGELOOP_DATA") or BESIDE) / name
    for path in (folder, *(folder / file for file in files)):
        if not path.exists():
            missing = path.relative_to(folder.parent)
            pytest.skip(f"needs real data in {HERE}: {missing} is not there")
    return folder
