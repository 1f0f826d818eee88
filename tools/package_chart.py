"""Packages the chart with what nobody but its publisher knows: home page, sources, maintainers.

    python tools/package_chart.py --home URL --source URL --maintainer "NAME <ADDRESS>" --out FOLDER

The chart in the repository has none of these, since it has no public address of its own.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent.parent / "helm" / "edgeloop"
URL = re.compile(r"https?://\S+")
MAINTAINER = re.compile(r"(?P<name>[^<>]+?)\s*(<(?P<email>\S+@\S+)>)?")


def url(text: str) -> str:
    """Return a URL; argparse says what is none."""
    if not URL.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no URL of HTTP")
    return text


def maintainer(text: str) -> dict[str, str]:
    """Return a maintainer as Chart.yaml has one."""
    found = MAINTAINER.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 'Ann Example <ann@example.org>'")
    return {key: value for key, value in found.groupdict().items() if value}


def completed(about: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """Return a Chart.yaml with what was given."""
    more = {"home": given.home, "sources": given.source, "maintainers": given.maintainer}
    return {**about, **{key: value for key, value in more.items() if value}}


def main() -> None:
    """Package the chart."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--home", type=url)
    parser.add_argument("--source", type=url, action="append", default=[])
    parser.add_argument("--maintainer", type=maintainer, action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("dist"))
    parser.add_argument("--helm", default="helm")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(CHART, Path(folder) / CHART.name))
        about = completed(yaml.safe_load((copy / "Chart.yaml").read_text()), given)
        (copy / "Chart.yaml").write_text(yaml.safe_dump(about, sort_keys=False))
        command = [given.helm, "package", copy, "--destination", given.out]
        subprocess.run(command, check=True)  # noqa: S603 - helm, as its caller names it


if __name__ == "__main__":
    main()
