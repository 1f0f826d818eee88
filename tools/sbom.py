"""Writes what an environment has installed: a CycloneDX 1.6 bill of materials, on its output.

An image's build runs it with the image's own Python, so that the bill is what is there.
"""

import hashlib
import json
import re
import sys
from importlib.metadata import Distribution, distributions, version
from typing import Any


def name_of(found: Distribution) -> str:
    """Return a package's name as the index writes it."""
    return re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()


def component(found: Distribution) -> dict[str, Any]:
    """Return a package as CycloneDX has it."""
    name = name_of(found)
    place = f"pkg:pypi/{name}@{found.version}"
    licences = [found.metadata[key] for key in ("License-Expression", "License")]
    licence = next((each for each in licences if each), None)
    named = {} if not licence else {"licenses": [{"license": {"name": licence.splitlines()[0]}}]}
    record = found.read_text("RECORD") or ""
    digest = {"alg": "SHA-256", "content": hashlib.sha256(record.encode()).hexdigest()}
    about = {"name": "edgeloop:sha256-of-RECORD", "value": digest["content"]}
    return {
        "type": "library",
        "bom-ref": place,
        "name": name,
        "version": found.version,
        "purl": place,
        **named,
        "properties": [about],
    }


def bill() -> dict[str, Any]:
    """Return the bill of this Python's environment."""
    found = {name_of(each): each for each in distributions()}
    whole = {"type": "application", "name": "edgeloop", "version": version("edgeloop")}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": whole},
        "components": [component(found[name]) for name in sorted(found) if name != "edgeloop"],
    }


if __name__ == "__main__":
    json.dump(bill(), sys.stdout, indent=1)
