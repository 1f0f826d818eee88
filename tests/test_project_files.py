"""What a newcomer, a packager or a reviewer finds at the root: true, and of one version."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeloop import algorithms

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SECTIONS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
RELEASE = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "ARCHITECTURE.md")


def releases() -> dict[str, tuple[str, str]]:
    """Return the changelog's releases, newest first: the date and the text of each."""
    parts = RELEASE.split((ROOT / "CHANGELOG.md").read_text())[1:]
    return {parts[at]: (parts[at + 1], parts[at + 2]) for at in range(0, len(parts), 3)}


def citation() -> dict[str, Any]:
    return dict(yaml.load((ROOT / "CITATION.cff").read_text(), Loader=yaml.BaseLoader))  # noqa: S506 - strings only


def test_the_project_has_the_newest_releases_version() -> None:
    versions = [tuple(map(int, version.split("."))) for version in releases()]
    assert versions == sorted(set(versions), reverse=True)
    assert next(iter(releases())) == PROJECT["version"]
    dates = [date for date, _ in releases().values()]
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize("version", releases())
def test_a_releases_sections_are_sorted(version: str) -> None:
    found = re.findall(r"^### (.*)$", releases()[version][1], re.MULTILINE)
    assert found == [section for section in SECTIONS if section in found]


def test_the_chart_is_of_the_projects_version() -> None:
    chart = ROOT / "helm" / "edgeloop"
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert {str(about["version"]), str(about["appVersion"])} == {PROJECT["version"]}
    tags = [
        yaml.safe_load(file.read_text()).get("image", {}).get("tag")
        for file in (chart / "ci").glob("*.yaml")
    ]
    assert {tag for tag in tags if tag} == {PROJECT["version"]}


def test_the_citation_says_what_the_project_says() -> None:
    found = citation()
    assert found["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= found.keys()  # what its schema asks for
    assert found["title"] == PROJECT["name"]
    assert found["abstract"] == PROJECT["description"]
    assert found["license"] == PROJECT["license"]
    assert found["keywords"] == PROJECT["keywords"]
    assert found["version"] == PROJECT["version"]
    assert found["date-released"] == releases()[PROJECT["version"]][0]


def hooks() -> list[dict[str, Any]]:
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"
    return list(repo["hooks"])


def test_the_hooks_are_what_make_check_runs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.findall(r"^check:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[0]
    tools = {"lint-imports": "import-linter"}
    ours = set()
    for hook in hooks():
        command = re.sub(r" --force-exclude$", "", hook["entry"])
        ours.add(command.removeprefix(".venv/bin/"))
        name = Path(command.split()[0]).name
        needed = [re.split(r"[><=\[]", each)[0] for each in PROJECT["optional-dependencies"]["dev"]]
        assert tools.get(name, name) in needed
        assert hook["language"] == "system"
    run = {line.strip().removeprefix("$(BIN)/") for line in recipe.splitlines()}
    assert ours == {re.sub(r"( --check)? \.$", "", line) for line in run}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_is_there(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
        assert (ROOT / target).exists(), target


def test_the_first_five_minutes_name_what_is_there(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.partition("## The first five minutes")[2].partition("\n## ")[0]
    for quoted in re.findall(r"`((?:edgeloop|cloud|simulations|tests)/[\w/.]+)`", section):
        assert (ROOT / quoted).exists(), quoted
    (words,) = re.findall(r"^\.venv/bin/edgeloop (.*)$", section, re.MULTILINE)
    command = Path(sys.executable).with_name("edgeloop")
    done = subprocess.run(
        [str(command), *words.split(), "--workers", "1", "--out", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (file,) = re.findall(r"-m pytest (\S+)", section)
    assert (ROOT / file).is_file()


def test_the_first_page_counts_what_there_is() -> None:
    """Of algorithms a round number, so that one more needs no word here."""
    (told,) = re.findall(r"\*\*More than (\d+) algorithms\*\*", (ROOT / "README.md").read_text())
    assert int(told) < len(algorithms.built_in()) < int(told) + 10, "count README's algorithms anew"
