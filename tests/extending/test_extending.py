"""docs/extending.md: its package is written as it stands there, installed, and runs."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeloop.cli.main import main
from edgeloop.runtime.config import BrokerSettings
from tests.one_device import write_data

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"
PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
COMMAND = "import sys; from edgeloop.cli.main import main; sys.exit(main(sys.argv[1:]))"
Run = Callable[..., subprocess.CompletedProcess[str]]


def files() -> dict[str, str]:
    """Return the page's files by name: each block begins with a comment that names its own."""
    return dict(re.findall(r"```(?:toml|python)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))


def install(folder: Path, points: dict[str, dict[str, str]], name: str = "extras") -> None:
    """Have a folder on the path say which package it is, and what it brings."""
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        line
        for group, named in points.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in named.items()))
    ]
    (about / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def extras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    written = files()
    for name, text in written.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "extras" / "__init__.py").touch()
    project = tomllib.loads(written["pyproject.toml"])["project"]
    install(folder, project["entry-points"], project["name"])
    return folder


def environment(*folders: Path) -> dict[str, str]:
    path = os.pathsep.join([*map(str, folders), str(Path(__file__).parents[2])])
    return {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error"}


@pytest.fixture
def edgeloop(
    extras: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Run the command where the page's package is installed."""

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        code = main(words)
        return subprocess.CompletedProcess(words, code, *capfd.readouterr())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(extras), *sys.path])
    yield command
    for name in [each for each in sys.modules if each.partition(".")[0] == "extras"]:
        del sys.modules[name]


def commands() -> list[str]:
    """Return the page's commands, one a line."""
    return "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines()


def test_the_page_has_one_file_of_each_kind() -> None:
    points = tomllib.loads(files()["pyproject.toml"])["project"]["entry-points"]
    kinds = ("algorithms", "models", "sources", "generators", "partitions", "metrics")
    assert set(points) == {f"edgeloop.{kind}" for kind in kinds}
    assert len(files()) == 1 + len(points)
    assert len(commands()) == 10


def test_the_example_is_the_page_s_package() -> None:
    for name, text in files().items():
        assert (EXAMPLE / name).read_text() == text, name
    known = {str(path.relative_to(EXAMPLE)) for path in EXAMPLE.rglob("*.*")}
    assert {each for each in known if "__pycache__" not in each} == {
        *files(),
        "README.md",
        "extras/__init__.py",
    }


WAYS = {
    "names": ("fedmedian", "stripes", "halving", "worst-class"),
    "paths": (
        *("extras:median", "extras.stripes:ARCHITECTURE"),
        *("extras.halving:halving", "extras.worst:worst_class"),
    ),
}
"""What the example brings: an algorithm, a model, a partition and a metric."""

BOTH = """
from edgeloop.cli.main import main

if __name__ == "__main__":
    for line in {lines}:
        assert main(line) == 0
"""


def install_example(project: Path, site: Path) -> None:
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__"))
    words = ["install", "--no-deps", "--no-build-isolation", "--quiet", "--target", str(site)]
    pip = [sys.executable, "-m", "pip", *words, str(project)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def small_run(out: str) -> str:
    algorithm, model, partition, metric = WAYS[out]
    return (
        f"simulate {algorithm} --models {model} --partition {partition} --metrics {metric}"
        " --data fashion-sample --clients 2 --samples 80 --rounds 1 --width 16"
        f" --out {out} --workers {1 if out == 'names' else 2}"
    )


def test_the_example_is_installed_by_pip_and_runs_both_ways(tmp_path: Path) -> None:
    """Into a folder of its own, without a network; then every kind by name and by path, at once."""
    install_example(tmp_path / "plugin", site := tmp_path / "site")
    lines = [small_run(out).split() for out in WAYS]
    (tmp_path / "both.py").write_text(BOTH.format(lines=lines))
    script = [sys.executable, "both.py"]
    done = subprocess.run(
        script, env=environment(site), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = {out: json.loads((tmp_path / out / "summary.json").read_text()) for out in WAYS}
    for out, (*_, metric) in WAYS.items():
        assert len(found[out]["metrics_by_round"][metric]) == 2
    assert found["names"]["knowledge_sha256"] == found["paths"]["knowledge_sha256"]


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_page_runs(line: str, edgeloop: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [("ab"[i % 2], *random.normal(i % 2, 0.3, 4).round(3)) for i in range(60)]
    text = "\n".join(",".join(map(str, row)) for row in [("label", *"wxyz"), *rows])
    (tmp_path / "flowers.csv").write_text(text)
    words = shlex.split(line)[1:]
    small = ["--samples", "200", "--clients", "2"] if "fashion-sample" in words else []
    quick = [*small, "--workers", "1", "--out", "run"] if words[0] == "simulate" else []
    more = ["--set", "server_epochs=2"] if "fedktl" in words else []
    more += ["--set", "local_epochs=20", "--batch-size", "5"] if "flowers.csv" in line else []
    done = edgeloop(*words, *quick, *more)
    assert done.returncode == 0, done.stderr
    if words[0] == "simulate":
        summary = json.loads((tmp_path / "run" / "summary.json").read_text())
        assert len(summary["accuracy_by_round"]) == 4
    if "flowers.csv" in line:
        assert summary["accuracy_by_round"][-1] > 0.8
    if "fedktl" in words:
        with_digits = [word.replace("rings:28", "digits") for word in [*words, *quick, *more]]
        other = edgeloop(*(word if word != "run" else "other" for word in with_digits))
        assert other.returncode == 0, other.stderr
        known = json.loads((tmp_path / "other" / "summary.json").read_text())["knowledge_sha256"]
        assert known != summary["knowledge_sha256"]


def test_where_each_is_from(edgeloop: Run) -> None:
    for words, name in (
        (("algorithms",), "fedmedian"),
        (("models",), "stripes"),
        (("data", "layouts"), "labelled CSV"),
        (("generator", "list"), "rings:"),
    ):
        done = edgeloop(*words)
        assert done.returncode == 0, done.stderr
        (line,) = [each for each in done.stdout.splitlines() if f" {name} " in each]
        assert "extras 1.0" in line, words
    listed = json.loads(edgeloop("models", "--json").stdout)["architectures"]
    (stripes,) = [each for each in listed if each["name"] == "stripes"]
    assert stripes["features"] == 32
    assert stripes["parameters"] == 16 * (3 * 32 + 1) + 32 * (16 * 32 + 1)


def test_pages_of_this_package_do_not_change(edgeloop: Run) -> None:
    """What is installed beside it is in no page of its docs."""
    for words, name in ((("algorithms",), "fedmedian"), (("models",), "stripes")):
        assert name not in edgeloop(*words, "--markdown").stdout


def test_shapes_that_fit(edgeloop: Run) -> None:
    done = edgeloop("models", "--shape", "1,16,16", "--json")
    found = {each["name"]: each for each in json.loads(done.stdout)["architectures"]}
    assert found["stripes"]["from"] == "extras 1.0"
    text = edgeloop("models", "--shape", "5000", "--json").stdout
    assert "stripes" not in {each["name"] for each in json.loads(text)["architectures"]}
    done = edgeloop(
        "simulate", "local", "--data", "fashion-sample", "--partition", "iid", "--models", "strips"
    )
    assert "did you mean stripes" in done.stderr


def task(folder: Path, data: Path, broker: BrokerSettings) -> dict[str, str]:
    """Return the configurations of a small task by the part's name."""
    names = json.loads((data / "config.json").read_text())["class_names"]
    where = f"broker = {{ port = {broker.port} }}"
    aggregator = f"""
        name = "median"
        algorithm = "fedmedian"
        class_names = {json.dumps(names)}
        shape = [1, 28, 28]
        width = 16
        rounds = 2
        folder = {json.dumps(str(folder / "aggregator"))}
        {where}
        http = {{ port = 0 }}
        cohort = {{ devices = ["client-00", "client-01"] }}
        hyperparameters = {{ architecture = "stripes" }}
    """
    agents = {
        f"client-{number:02}": f"""
            name = "client-{number:02}"
            task = "median"
            folder = {json.dumps(str(folder / f"client-{number:02}"))}
            {where}
            data = {{ source = {json.dumps(str(data))}, client = {number} }}
            training = {{ architecture = "stripes", threads = 1 }}
            model = {{ every_rounds = 0 }}
        """
        for number in range(2)
    }
    return {"aggregator": aggregator, **agents}


@pytest.mark.broker
def test_the_algorithm_and_the_model_run_over_mqtt(
    edgeloop: Run, extras: Path, tmp_path: Path, broker: BrokerSettings
) -> None:
    """The same knowledge as in a simulation, to the bit."""
    data = write_data(tmp_path / "data", clients=2)
    words = ["simulate", "fedmedian", "--data", str(data), "--models", "stripes", "--rounds", "2"]
    done = edgeloop(*words, "--width", "16", "--workers", "1", "--out", "run")
    assert done.returncode == 0, done.stderr
    expected = json.loads((tmp_path / "run" / "summary.json").read_text())["knowledge_sha256"]
    processes = []
    for name, text in task(tmp_path, data, broker).items():
        (tmp_path / f"{name}.toml").write_text(text)
        door = "aggregator" if name == "aggregator" else "agent"
        words = [sys.executable, "-c", COMMAND, door, "--config", str(tmp_path / f"{name}.toml")]
        processes.append(subprocess.Popen(words, env=environment(extras), cwd=tmp_path))
    try:
        assert [each.wait(timeout=120) for each in processes] == [0, 0, 0]
    finally:
        for each in processes:
            each.kill()
    summary = json.loads((tmp_path / "aggregator" / "summary.json").read_text())
    assert summary["knowledge_sha256"] == expected
