"""The reference pages say what the code has: each option, key, metric, message, request."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from cloud.aggregator.metrics import Metrics
from cloud.aggregator.settings import TaskSettings
from cloud.console import api
from cloud.operator.monitor import Monitor
from edgeloop import algorithms
from edgeloop.answers import Report
from edgeloop.cli import main
from edgeloop.protocol.receipt import Receipt
from edgeloop.protocol.task import Contract, Opening
from tests.cloud.operator.test_monitor import ask
from tools.docs import cards, commands, configuration, interfaces

ROOT = Path(__file__).parents[2]
DOORS = ("edgeloop", "cloud", "edge", "simulations")


@pytest.fixture(scope="module")
def of_commands() -> dict[str, str]:
    return commands.pages()


@pytest.fixture(scope="module")
def of_settings() -> dict[str, str]:
    return configuration.pages()


@pytest.fixture(scope="module")
def of_algorithms() -> dict[str, str]:
    return cards.pages()


@pytest.fixture(scope="module")
def of_interfaces() -> dict[str, str]:
    return interfaces.pages()


def test_every_command_of_the_project_has_a_page(of_commands: dict[str, str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = set(project["entry-points"]["edgeloop.commands"])
    pages = {Path(path).stem for path in of_commands}
    assert pages == {*names, "index"}
    for name in names:
        assert f"[edgeloop {name}]({name}.md)" in of_commands["reference/commands/index.md"]


def test_every_command_line_that_the_code_has_is_on_a_page(of_commands: dict[str, str]) -> None:
    """By the code's own calls of what runs a command line."""
    text = "\n".join(of_commands.values())
    found = set()
    for door in DOORS:
        for file in (ROOT / door).rglob("*.py"):
            calls = re.findall(r"console\.run\(\s*[\w.]+, \"([\w ]+)\"", file.read_text())
            found |= {name for name in calls if file.name != "train_generator.py"}
    assert len(found) > 15
    for name in found:
        assert re.search(rf"^(edgeloop|# edgeloop|## edgeloop) {name}\b", text, re.MULTILINE), name


@pytest.mark.parametrize("words", ["simulate", "agent doctor", "ca tokens", "up"])
def test_a_page_has_the_options_that_help_shows(
    words: str, of_commands: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main([*words.split(), "--help"]) == 0
    shown = set(re.findall(r"^  (--[\w-]+)", capsys.readouterr().out, re.MULTILINE)) - {"--help"}
    page = of_commands[f"reference/commands/{words.split()[0]}.md"]
    section = page.partition(f"## edgeloop {words}\n")[2].partition("\n## ")[0] or page
    on_page = set(re.findall(r"^\| `(--[\w-]+)`", section, re.MULTILINE))
    assert shown
    assert on_page == shown


def rows(page: str) -> dict[str, list[str]]:
    """Return the rows of a page's tables by what stands first, as code."""
    found: dict[str, list[str]] = {}
    for line in page.splitlines():
        if line.startswith("| `"):
            found.setdefault(line.split("`")[1], []).append(line)
    return found


@pytest.mark.parametrize("name", configuration.FILES)
def test_every_key_of_a_file_is_on_its_page(name: str, of_settings: dict[str, str]) -> None:
    page = of_settings[f"reference/settings/{name}.md"]
    models = [configuration.FILES[name][2]]
    while models:
        model = models.pop()
        for key, field in model.model_fields.items():
            inner = [
                each
                for each in configuration.tables_of(model).get(key, ())
                if issubclass(each, BaseModel)
            ]
            models += inner
            if not inner:
                assert key in rows(page), f"{model.__name__}.{key}"
                kinds = {line.split(" | ")[2] for line in rows(page)[key]}
                assert configuration.default_of(field) in kinds
    assert "|  |\n" not in page, "a key without a meaning"


def test_a_key_is_said_with_type_default_and_meaning(of_settings: dict[str, str]) -> None:
    found = rows(of_settings["reference/settings/task.md"])
    field = TaskSettings.model_fields["width"]
    assert field.default == 512
    expected = "| `width` | integer, at least 1, at most 8,192 | `512` | Feature width K that all"
    assert found["width"][0].startswith(expected)
    assert found["name"][0] == "| `name` | text | required | Name of the task. |"
    assert "`log`" not in found["outliers"][0]
    assert '`"log"`, `"refuse"`' in found["outliers"][0]


def test_the_metrics_are_those_that_are_served(of_interfaces: dict[str, str]) -> None:
    texts = [
        Metrics().exposition().decode(),
        ask(Monitor().serve("127.0.0.1", 0), "/metrics")[1],
    ]
    families = [each for text in texts for each in text_string_to_metric_families(text)]
    served = {
        each.name + "_total" * (each.type == "counter"): each.documentation
        for each in families
        if not each.name.endswith("_created")
    }
    found = rows(of_interfaces["reference/metrics.md"])
    assert found.keys() == served.keys()


def test_messages_have_all_their_fields(of_interfaces: dict[str, str]) -> None:
    page = of_interfaces["reference/messages.md"]
    found = rows(page)
    fields = {name for model in (Contract, Opening, Receipt) for name in model.model_fields}
    fields |= {field.name for field in dataclasses.fields(Report)}
    assert fields <= found.keys()
    assert "`edgeloop/v1/TASK/receipt/DEVICE`" in page
    assert "*Since* 3." in next(line for line in found["robust"])


def test_every_request_of_the_server_is_on_the_page(of_interfaces: dict[str, str]) -> None:
    source = (ROOT / "cloud" / "console" / "api.py").read_text()
    paths = re.findall(r"@router\.(get|post)\(\"([^\"]+)\"", source)
    assert len(paths) > 8
    for method, path in paths:
        assert f"`{method.upper()} {api.PREFIX}{path}`" in of_interfaces["reference/http.md"]


@pytest.mark.parametrize("name", algorithms.built_in())
def test_an_algorithms_page_has_its_settings_and_messages(
    name: str, of_algorithms: dict[str, str]
) -> None:
    page = of_algorithms[f"reference/algorithms/{name}.md"]
    info = algorithms.info(name)
    assert page.startswith(f"# {info.title}\n\n<!-- Generated from the code: do not edit. -->\n")
    for variant in info.variants:
        assert f"`{variant}`" in page
    assert f"edgeloop simulate {name} " in page
    assert f"]({name}.md)" in of_algorithms["reference/algorithms/index.md"]


def test_a_prototypes_shape_is_on_the_page(of_algorithms: dict[str, str]) -> None:
    found = rows(of_algorithms["reference/algorithms/fedtgp.md"])
    assert found["prototypes_ND"] == ["| `prototypes_ND` | float32 (N, D) |  | the prototypes. |"]
    assert found["pull"][0].startswith("| `pull` | `10.0` | weight of the distance ")
