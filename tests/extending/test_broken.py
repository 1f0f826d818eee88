"""Packages that are broken, or that bring what is here already: one sentence, for who asks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeloop import algorithms, data, generators, models
from edgeloop.cli.main import main
from edgeloop.data import layouts
from edgeloop.errors import ConfigError, DataError, UnavailableError

Install = Callable[..., None]

INFO = """
from edgeloop.algorithm import AlgorithmInfo

INFO = AlgorithmInfo("Half", ("simulation",), "nothing", "nothing", "nobody")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package that brings one thing, with one module of its name."""

    def installed(
        group: str, name: str, value: str, source: str = "", package: str = "odd"
    ) -> None:
        folder = tmp_path / package
        about = folder / f"{package}-2.1.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.1\n")
        (about / "entry_points.txt").write_text(f"[edgeloop.{group}]\n{name} = {value}\n")
        (folder / f"{value.partition(':')[0]}.py").write_text(source)
        monkeypatch.syspath_prepend(folder)

    return installed


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("broken_a", "raise RuntimeError('no\\nuse')", "RuntimeError: no use"),
        ("broken_b", "import not_there_at_all", "No module named 'not_there_at_all'"),
        ("broken_c", "def", "invalid syntax"),
        ("broken_d", "", "has no attribute 'INFO'"),
        ("broken_j", "INFO = 3", "its INFO is no AlgorithmInfo"),
        ("broken_e", INFO, "it has no Config"),
    ],
)
def test_a_broken_algorithm(install: Install, module: str, source: str, said: str) -> None:
    install("algorithms", "half", module, source)
    with pytest.raises(ConfigError, match=said) as found:
        algorithms.load("half")
    assert str(found.value).startswith("algorithm: half, from odd 2.1, cannot be used (")
    assert str(found.value).endswith(f"; fix {module}, or uninstall it")
    assert "half" in algorithms.names()
    assert algorithms.info("fedavg").title == "FedAvg"
    assert algorithms.load("fedavg", classes=2, width=4).full_rounds == 0


def test_a_broken_algorithm_in_the_lists(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("algorithms", "half", "broken_f", "raise RuntimeError('no use')")
    assert main(["algorithms"]) == 0
    assert "odd 2.1" in capsys.readouterr().out
    assert main(["algorithms", "--json"]) == 0
    assert '"problem": "algorithm: half, from odd 2.1, cannot be' in capsys.readouterr().out
    assert main(["algorithms", "half"]) == 2
    assert capsys.readouterr().err.startswith("error: algorithm: half, from odd 2.1")
    assert main(["simulate", "half", "--data", "fashion-sample"]) == 2
    assert capsys.readouterr().err.startswith("error: algorithm: half, from odd 2.1")


def test_a_name_that_is_built_in(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("algorithms", "fedavg", "broken_g", INFO)
    twice = "fedavg is brought twice: it is built in, and odd 2.1 has one; pip uninstall odd, or"
    for ask in (algorithms.info, algorithms.load):
        with pytest.raises(ConfigError, match=twice):
            ask("fedavg")
    assert algorithms.names().count("fedavg") == 1
    assert algorithms.info("fedprox").title == "FedProx"
    assert main(["algorithms"]) == 0
    assert "edgeloop, odd" in " ".join(capsys.readouterr().out.split())


def test_a_name_that_two_packages_bring(install: Install) -> None:
    install("algorithms", "half", "broken_h", INFO)
    install("algorithms", "half", "broken_i", INFO, package="even")
    with pytest.raises(ConfigError, match=r"brought twice: (odd|even) 2.1, and (odd|even) 2.1"):
        algorithms.info("half")


@pytest.mark.parametrize(
    ("value", "source", "said"),
    [
        ("bad_a:NET", "NET = 3", "TypeError: bad_a:NET is no Architecture"),
        ("bad_b:NET", "", "has no attribute 'NET'"),
    ],
)
def test_a_broken_model(
    install: Install, value: str, source: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    install("models", "net", value, source)
    with pytest.raises(ConfigError, match=f"architecture: net, from odd 2.1, .*{said}"):
        models.build("net", (1, 16, 16), 2)
    assert models.build("cnn", (1, 16, 16), 2).classes == 2
    assert "cnn" in models.fitting((1, 16, 16))
    assert main(["models"]) == 0
    assert "architecture: net, from odd 2.1" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["cnn", "fasttext", "mlp"])
def test_a_model_of_a_name_that_is_built_in(install: Install, name: str) -> None:
    install("models", name, f"twice_{name}:NET")
    with pytest.raises(ConfigError, match=f"architecture: {name} is brought twice"):
        models.build(name, models.usual_shape("hcnn1"), 2)
    assert models.build("resnet4", (1, 16, 16), 2).classes == 2


def test_a_broken_source(
    install: Install,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install("sources", "odd table", "bad_c:SOURCE", "raise RuntimeError('no use')")
    path = tmp_path / "table.odd"
    path.touch()
    with pytest.raises(
        DataError, match=r"unknown layout; data source: odd table, from odd 2.1, .*"
    ):
        data.layout_of(path)
    assert data.layout_of(tmp_path).layout == "class folders"
    assert "is taken for class folders: data source: odd table, from odd 2.1" in caplog.text
    assert data.layout_of("fashion-sample").layout == "embedded"
    with pytest.raises(ConfigError, match=r"odd table, from odd 2\.1"):
        layouts.of_others("odd table")
    with pytest.raises(ConfigError, match="there is no 'even table'; choose one of parquet"):
        layouts.of_others("even table")
    assert main(["data", "layouts"]) == 0
    assert "RuntimeError" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["matches", "read"])
def test_a_source_that_fails_when_it_is_asked(install: Install, tmp_path: Path, part: str) -> None:
    other = "read" if part == "matches" else "matches"
    source = f"""
from edgeloop.data import Source

def fail(path):
    raise KeyError("column")

SOURCE = Source("x", **{{"{part}": fail, "{other}": lambda path: True}})
"""
    install("sources", "failing", f"fails_{part}:SOURCE", source)
    path = tmp_path / "table.odd"
    path.touch()
    with pytest.raises((ConfigError, DataError), match=r"failing, from odd 2.1, .*KeyError"):
        data.read(path)


AWAY = """
from edgeloop.data import Source
from edgeloop.errors import UnavailableError

def away(path):
    raise UnavailableError("share", "is not mounted", "mount it")

SOURCE = Source("x", matches=MATCHES, read=away)
"""


@pytest.mark.parametrize("matches", ["away", "lambda path: path.suffix == '.odd'"])
def test_what_is_away_is_no_fault_of_the_package(
    install: Install, tmp_path: Path, matches: str
) -> None:
    """It is said as it is, with the exit code of what may pass, and others' data are read."""
    install("sources", "away", f"away_{len(matches)}:SOURCE", AWAY.replace("MATCHES", matches))
    path = tmp_path / "table.odd"
    path.touch()
    with pytest.raises((UnavailableError, DataError), match="share: is not mounted; mount it"):
        data.read(path)
    assert data.layout_of(tmp_path).layout == "class folders"


def test_a_layout_that_is_built_in_stays(install: Install, tmp_path: Path) -> None:
    install("sources", "IDX", "bad_d:SOURCE")
    with pytest.raises(ConfigError, match="data source: IDX is brought twice: it is built in"):
        layouts.of_others("IDX")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('no use')", "no use"),
        ("make = 3", "is no function"),
        ("def make(rest): raise KeyError(rest)", "KeyError: 'x'"),
        ("def make(rest): return rest", "no attribute 'identity'"),
    ],
)
def test_a_broken_generator(install: Install, source: str, said: str) -> None:
    install("generators", "odd", f"bad_{len(source)}:make", source)
    with pytest.raises(ConfigError, match=f"generator: odd, from odd 2.1, .*{said}"):
        generators.load("odd:x")
    assert generators.load("digits").latent_dim > 0


def test_a_generator_of_a_name_that_is_built_in(install: Install) -> None:
    install("generators", "triton", "bad_e:make")
    with pytest.raises(ConfigError, match="generator: triton is brought twice: it is built in"):
        generators.load("triton://127.0.0.1:1/x")
    assert generators.load("digits").latent_dim > 0
