"""A process of its own: reads a StyleGAN file, and writes it as a generator's folder.

python -m cloud.generator_service.pickled FILE FOLDER ABOUT

ABOUT is the manifest's name, title, source and licence as JSON. It tells what it does line by line,
and ends like every command: with 2 and one sentence if the file is wrong.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cloud.generator_service.stylegan import modules, network, unpickle
from edgeloop.cli import console
from edgeloop.errors import EdgeloopError, GeneratorError
from edgeloop.generators import converting


def main(arguments: Sequence[str]) -> int:
    """Convert a file; return the exit code."""
    path, folder, about = arguments
    try:
        convert(Path(path), Path(folder), json.loads(about))
    except EdgeloopError as error:
        console.note(str(error))
        return 2
    return 0


def convert(path: Path, folder: Path, about: dict[str, str]) -> None:
    """Read a StyleGAN file and write its generator's folder; run in a process of its own only.

    Raises:
        GeneratorError: if the file is none, or its network fails.
    """
    with modules.installed(), network.portable():
        try:
            console.say(f"reading {path.name}")
            parts = network.parts(unpickle.read(path), path.name)
            console.say("converting to ONNX; a large network takes minutes")
            converting.convert(parts, folder, about)
        except EdgeloopError:
            raise
        except Exception as error:  # the file's own source may raise anything
            reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
            problem = f"its own source failed ({reason})"
            raise GeneratorError(path.name, problem, "report it with the file's origin") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
