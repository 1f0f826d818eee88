"""Where a rehearsal is played: a cluster of somebody's, one of kind's or k3d's, or containers."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.dockerfile import IMAGES
from tests.helm import containers
from tests.helm.chart import ROOT

NAME = "edgeloop-rehearsal"
NOTHING = (
    "set KUBECONFIG, or install kind or k3d with docker or podman; or podman alone, which runs the"
    " pods as containers"
)


@dataclass(frozen=True)
class Place:
    """A place for a rehearsal.

    Attributes:
        words: what it is.
        make: commands that make a cluster, and have it know our images.
        unmake: commands that take it away again.
        registry: that has our images; "" for images that were loaded.
        plays: rehearses without a cluster; None where there is one.
    """

    words: str
    make: tuple[tuple[str, ...], ...] = ()
    unmake: tuple[tuple[str, ...], ...] = ()
    registry: str = ""
    plays: Callable[[], int] | None = None

    @contextmanager
    def running(self) -> Iterator[dict[str, str]]:
        """Have the cluster run until the block ends; yield the environment for kubectl and helm."""
        try:
            for command in self.make:
                subprocess.run(command, check=True, cwd=ROOT)
            yield dict(os.environ)
        finally:
            for command in self.unmake:
                subprocess.run(command, check=False, cwd=ROOT)


def choose() -> Place | None:
    """Return the first place that is at hand; None if none is."""
    engine = next((each for each in ("docker", "podman") if _works(each, "info")), None)
    if os.environ.get("KUBECONFIG") and _works("kubectl", "version"):
        registry = os.environ.get("REGISTRY", "")
        return Place(f"the one of {os.environ['KUBECONFIG']}", registry=registry)
    if engine and shutil.which("kind"):
        return _made("kind", "create cluster", "delete cluster", "load docker-image", "--name")
    if engine and shutil.which("k3d"):
        return _made("k3d", "cluster create", "cluster delete", "image import", "--cluster")
    if engine == "podman":
        return Place("none: the pods as podman containers", plays=containers.main)
    return None


def _made(program: str, create: str, delete: str, load: str, flag: str) -> Place:
    named = ("--name", NAME) if program == "kind" else (NAME,)
    images = [f"edgeloop-{each}:{containers.VERSION}" for each in IMAGES]
    return Place(
        f"one of {program}'s",
        make=(
            ("make", "images"),
            (program, *create.split(), *named),
            (program, *load.split(), *images, flag, NAME),
        ),
        unmake=((program, *delete.split(), *named),),
    )


def _works(program: str, question: str) -> bool:
    if shutil.which(program) is None:
        return False
    return subprocess.run([program, question], capture_output=True, check=False).returncode == 0
