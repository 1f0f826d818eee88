"""What a task agrees on: its generator, and who hears that it does not answer; its rule."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cloud.aggregator.agreement import GeneratorHandle, load_base, make_contract, unchosen
from cloud.aggregator.http import Status
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.recording import record_of
from cloud.aggregator.service import Run
from cloud.aggregator.settings import CohortSettings, TaskSettings
from cloud.generator_service.bases import repository
from edgeloop import generators
from edgeloop.bases import building
from edgeloop.bases.recipe import BaseRecipe
from edgeloop.bases.running import Base
from edgeloop.errors import BaseError, ConfigError, GeneratorError, RunError, UnavailableError
from edgeloop.generators import manifest
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.protocol import robust_rules
from edgeloop.runtime.ports import free_port
from tests.bases.served import serving, write_base
from tests.generators.tiny import write_tiny

Wanted = Callable[..., TaskSettings]


@pytest.fixture
def wanted(tmp_path: Path) -> Wanted:
    """Make a task's settings, with some as a test wants them."""

    def wanted(**changes: Any) -> TaskSettings:
        fields: dict[str, Any] = {
            "name": "t",
            "algorithm": "fedktl",
            "class_names": ("a", "b"),
            "shape": (1, 28, 28),
            "rounds": 2,
            "folder": tmp_path / "task",
            "cohort": CohortSettings(devices=("one",), give_up_seconds=0.4),
        }
        return TaskSettings(**{**fields, **changes})

    return wanted


def test_a_generator_that_is_needed_is_opened_and_agreed_on(wanted: Wanted, tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    settings = wanted(generator=str(tiny))
    handle = GeneratorHandle(settings)
    assert handle.generator is not None
    assert handle.problem is None
    options = make_contract(settings, handle.generator).options
    assert options["generator_sha256"] == OnnxGenerator(tiny).identity
    assert options["latent_dim"] == 8


def test_the_embedded_one_if_none_is_named(wanted: Wanted) -> None:
    found = GeneratorHandle(wanted()).generator
    embedded = manifest.read(generators.folder_of(generators.EMBEDDED))
    assert found is not None
    assert found.identity == embedded.identity


@pytest.mark.parametrize(
    "changes",
    [{"algorithm": "fedtgp"}, {"algorithm": "fedproto"}, {"hyperparameters": {"transfer": 0.0}}],
)
def test_one_that_nobody_would_ask_is_refused(
    wanted: Wanted, tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = wanted(generator=str(write_tiny(tmp_path / "tiny")), **changes)
    with pytest.raises(ConfigError) as caught:
        GeneratorHandle(settings)
    assert caught.value.field == "generator"
    assert caught.value.problem.startswith(f"{settings.algorithm} asks none")
    assert caught.value.remedy == "leave it out, or choose fedktl"


@pytest.mark.parametrize(
    "changes", [{"algorithm": "fedtgp"}, {"hyperparameters": {"transfer": 0.0}}]
)
def test_none_is_opened_where_none_is_needed(wanted: Wanted, changes: dict[str, Any]) -> None:
    settings = wanted(**changes)
    handle = GeneratorHandle(settings)
    assert handle.generator is None
    assert "generator_sha256" not in make_contract(settings, handle.generator).options


def test_one_that_is_not_there(wanted: Wanted) -> None:
    with pytest.raises(GeneratorError, match="there is no generator 'missing'"):
        GeneratorHandle(wanted(generator="missing"))


def test_one_that_does_not_answer_is_waited_for_as_long_as_a_round_is(
    wanted: Wanted, caplog: pytest.LogCaptureFixture
) -> None:
    reference = f"triton://127.0.0.1:{free_port()}/tiny"
    with (
        caplog.at_level(logging.WARNING, "cloud.aggregator"),
        pytest.raises(UnavailableError, match=r"has given no answer for 0\.4 s"),
    ):
        GeneratorHandle(wanted(generator=reference))
    (told,) = set(warnings(caplog))
    assert told.startswith("generator: failed to connect")
    assert warnings(caplog) == [told]  # tried several times, told once


def test_a_problem_is_told_everywhere_until_it_is_over(
    wanted: Wanted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = wanted(generator=str(write_tiny(tmp_path / "tiny")))
    handle = GeneratorHandle(settings)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        contract = ledger.adopt(make_contract(settings, handle.generator))
        run = Run(settings, contract, ledger, handle, connected=True)
        handle.on_ready_change = run.metrics.generator
        assert (told(run), ready(run)) == ((None, []), 1)
        for _ in range(2):
            handle._on_problem("it is away")
            assert (told(run), ready(run)) == (("it is away", ["it is away"]), 0)
        handle._on_problem(None)
        assert (told(run), ready(run)) == ((None, []), 1)
    assert warnings(caplog) == ["generator: it is away", "generator: answers again"]


def test_a_run_sets_every_field_of_its_status(wanted: Wanted, tmp_path: Path) -> None:
    """A field that is declared and not set would be told at its default for ever."""
    settings = wanted(generator=str(write_tiny(tmp_path / "tiny")))
    handle = GeneratorHandle(settings)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        contract = ledger.adopt(make_contract(settings, handle.generator))
        told = Run(settings, contract, ledger, handle).status()
    unset = set(Status.model_fields) - told.model_fields_set
    assert not unset, f"set {', '.join(sorted(unset))} in Run.status, cloud/aggregator/run.py"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]


def told(run: Run) -> tuple[str | None, list[str]]:
    """Return what /status and /readyz say of the generator."""
    status = run.status()
    return status.generator_problem, status.obstacles()


def ready(run: Run) -> float:
    """Return the metric's value."""
    text = run.metrics.exposition().decode()
    (family,) = (
        family
        for family in text_string_to_metric_families(text)
        if family.name == "edgeloop_generator_ready"
    )
    return float(family.samples[0].value)


def test_a_base_from_a_server_is_fetched_once_and_agreed_on(wanted: Wanted, tmp_path: Path) -> None:
    identity = write_base(tmp_path / "base", shape=(1, 28, 28))
    models = tmp_path / "models"
    repository.write(tmp_path / "base", models, "faces", 1)
    with serving(models) as root:
        settings = wanted(algorithm="class-statistics", base=f"{root}/faces")
        base = load_base(settings)
    assert base is not None
    assert make_contract(settings, base=base).options["base_sha256"] == identity
    again = load_base(settings)  # its server is gone
    assert again is not None
    assert again.identity == identity
    other = wanted(algorithm="class-statistics", base=f"{root}/faces?version=1")
    with pytest.raises(UnavailableError, match="does not answer"):
        load_base(other)


def test_a_base_that_is_another_one_is_refused(wanted: Wanted, tmp_path: Path) -> None:
    write_base(tmp_path / "base", shape=(1, 28, 28))
    repository.write(tmp_path / "base", tmp_path / "models", "faces", 1)
    with serving(tmp_path / "models") as root:
        settings = wanted(algorithm="class-statistics", base=f"{root}/faces?sha256={'0' * 64}")
        with pytest.raises(BaseError, match="is another base"):
            load_base(settings)
    with pytest.raises(ConfigError, match="'fac es' where a base's name should be"):
        load_base(wanted(algorithm="class-statistics", base="http://h/fac es"))


def test_a_base_of_other_inputs_is_refused(wanted: Wanted, tmp_path: Path) -> None:
    write_base(tmp_path / "base", shape=(1, 4, 4))
    settings = wanted(algorithm="class-statistics", base=str(tmp_path / "base"))
    with pytest.raises(BaseError, match=r"reads inputs of \(1, 4, 4\), and the task's"):
        load_base(settings)


def test_a_new_run_is_robust_unless_its_algorithm_takes_no_rule(wanted: Wanted) -> None:
    settings = wanted(algorithm="fedproto")
    assert make_contract(settings).robust == robust_rules.DEFAULT
    assert make_contract(wanted(algorithm="class-statistics")).robust == "none"
    chosen = CohortSettings(devices=("one",), robust="median")
    assert make_contract(wanted(algorithm="fedproto", cohort=chosen)).robust == "median"
    with pytest.raises(ConfigError) as caught:
        make_contract(wanted(algorithm="class-statistics", cohort=chosen))
    assert caught.value.field == "cohort.robust"


def test_a_run_that_was_begun_without_a_rule_goes_on_so(wanted: Wanted, tmp_path: Path) -> None:
    """As 0.2.0 began it: its contract has no such field. Who asks for a rule is refused."""
    auto = wanted(algorithm="fedproto")
    begun = make_contract(auto).model_copy(update={"robust": "none"})
    assert '"robust"' not in begun.text()
    (tmp_path / "task").mkdir()
    with Ledger.open(auto.ledger()) as ledger:
        ledger.adopt(begun)
        agreed = ledger.adopt(make_contract(auto), unchosen(auto))
        assert (agreed.run, agreed.robust) == (begun.run, "none")
        asked = wanted(algorithm="fedproto", cohort=CohortSettings(devices=("one",), robust="clip"))
        with pytest.raises(RunError, match="other robust"):
            ledger.adopt(make_contract(asked), unchosen(asked))


def test_the_rule_of_a_run_stays_what_it_began_with(wanted: Wanted, tmp_path: Path) -> None:
    median = wanted(algorithm="fedproto", cohort=CohortSettings(devices=("one",), robust="median"))
    auto = wanted(algorithm="fedproto")
    (tmp_path / "task").mkdir()
    with Ledger.open(auto.ledger()) as ledger:
        ledger.adopt(make_contract(median), unchosen(median))
        assert ledger.adopt(make_contract(auto), unchosen(auto)).robust == "median"
    with Ledger.open(auto.ledger()) as ledger:
        assert (
            record_of(ledger.adopt(make_contract(auto), unchosen(auto)), ledger).robust == "median"
        )


def test_a_run_goes_on_with_the_base_that_it_began_with(
    wanted: Wanted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    named, shape = tmp_path / "base", (1, 28, 28)
    first = write_base(named, shape=shape)
    settings = wanted(algorithm="class-statistics", base=str(named))
    assert identity(load_base(settings)) == first
    shutil.rmtree(named)
    second = write_base(named, scale=2.0, shape=shape)
    assert second != first
    assert identity(load_base(settings, begun=first)) == first
    (said,) = warnings(caplog)
    assert f"base {named} is another one by now ({second[:12]}...)" in said
    shutil.rmtree(named)
    assert identity(load_base(settings, begun=first)) == first
    assert "there is no base" in warnings(caplog)[-1]
    with pytest.raises(BaseError, match="there is no base"):
        load_base(settings)  # of a new run


def test_a_new_run_has_the_base_as_it_is_now(wanted: Wanted, tmp_path: Path) -> None:
    named, shape = tmp_path / "base", (1, 28, 28)
    settings = wanted(algorithm="class-statistics", base=str(named))
    write_base(named, shape=shape)
    load_base(settings)
    shutil.rmtree(named)
    second = write_base(named, scale=2.0, shape=shape)
    assert identity(load_base(settings)) == second


def test_a_computed_base_is_computed_once_for_all_tasks(
    wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "home"))
    small = BaseRecipe(filters=4, patch=5, dims=5, images=16)
    monkeypatch.setattr(building, "recipe_for", lambda shape, classes: small)
    tasks = [wanted(algorithm="class-statistics", folder=tmp_path / name) for name in "ab"]
    first = identity(load_base(tasks[0]))
    monkeypatch.setattr(building, "graph_of_generator", lambda *_: pytest.fail("computed again"))
    assert identity(load_base(tasks[1])) == identity(load_base(tasks[0])) == first


def test_another_name_is_another_base(wanted: Wanted, tmp_path: Path) -> None:
    first = write_base(tmp_path / "one", shape=(1, 28, 28))
    second = write_base(tmp_path / "two", scale=2.0, shape=(1, 28, 28))
    load_base(wanted(algorithm="class-statistics", base=str(tmp_path / "one")))
    other = wanted(algorithm="class-statistics", base=str(tmp_path / "two"))
    assert identity(load_base(other, begun=first)) == second  # which its ledger then refuses


def identity(base: Base | None) -> str:
    assert base is not None
    return base.identity
