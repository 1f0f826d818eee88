"""More rounds of a run that its folder holds: as if they had been asked for from the beginning."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeloop.participation import Recorded
from edgeloop.runtime import atomic_files
from simulations.engine import checkpoint
from simulations.engine.run_plan import Plan
from simulations.results.folder import IDENTITY, SUMMARY, differences, excused

log = logging.getLogger(__name__)


def extend(folder: Path, plan: Plan, config: Mapping[str, Any]) -> None:
    """Make a run of fewer rounds one that goes on to more; leave every other folder as it is.

    It continues from the state that it kept, or its last checkpoint, and begins again where there
    is none, or where what a round does depends on how many there are. A kill in between leaves a
    run that is not finished, which the same command extends.

    Args:
        folder: of the run.
        plan: of the longer run.
        config: that the longer run's folder will have.

    Raises:
        ConfigError: if there is no record of so many rounds, where one is replayed.
    """
    if not _longer(folder, config):
        return
    policy = plan.participation()  # or an error, while the results are still there
    delays = isinstance(policy, Recorded) and policy.delays  # a longer run counts other uploads
    if config.get("schedule", "constant") != "constant" or delays:
        checkpoint.remove(folder)
    if (folder / SUMMARY).exists() and not any(folder.glob(f"{checkpoint.PREFIX}*")):
        text = "out %s: the run kept no state to go on from (--keep), and begins again"
        log.warning(text, folder)
    (folder / SUMMARY).unlink(missing_ok=True)
    atomic_files.write_json(folder / IDENTITY, config)


def _longer(folder: Path, config: Mapping[str, Any]) -> bool:
    """Return whether a folder holds the same run with fewer rounds."""
    try:
        held = atomic_files.read_json(folder / IDENTITY)
        before, after = held["rounds"], config["rounds"]
        differing = differences({**held, "rounds": after}, config)
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        return False  # `claim` says what is wrong with it
    finished = (folder / SUMMARY).exists()
    allowed = not differing or (not finished and differing == excused(held, config, differing))
    return allowed and isinstance(before, int) and before < after
