"""A device's ledger of privacy, and what it lets a task ask of it."""

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from edge.agent.privacy_ledger import PrivacyLedger
from edge.agent.settings import (
    DataSettings,
    DeviceSettings,
    ModelSettings,
    PolicySettings,
    TrainingSettings,
)
from edge.agent.task_session import DeviceContext, load_context, open_session
from edgeloop import data
from edgeloop.client import Release
from edgeloop.errors import ConfigError, ModelError, RunError
from edgeloop.privacy import accounting
from edgeloop.privacy.accounting import Event, epsilon
from edgeloop.protocol.task import Contract
from edgeloop.runtime.config import PrivacySettings
from tests.one_device import write_data
from tests.world import contract

ROUND = (Event(1.0, 0.1, 9), Event(8.0, 1.0, 1))
DELTA = 1e-5


def release(name: str) -> Release:
    return Release(name.encode(), ROUND)


def test_what_is_paid_adds_up_and_outlives_the_process(tmp_path: Path) -> None:
    assert epsilon(PrivacyLedger(tmp_path).events, DELTA) == 0.0
    for number in range(3):
        assert PrivacyLedger(tmp_path).spend(release(f"round {number}"), DELTA, None)
    again = PrivacyLedger(tmp_path)
    assert again.events == (Event(1.0, 0.1, 27), Event(8.0, 1.0, 3))


def test_the_last_release_again_costs_nothing_and_any_other_does(tmp_path: Path) -> None:
    spending = PrivacyLedger(tmp_path)
    assert spending.spend(release("a"), DELTA, None)
    assert PrivacyLedger(tmp_path).spend(release("a"), DELTA, 1e-9)  # cut off before it was sent
    assert PrivacyLedger(tmp_path).events == ROUND
    assert PrivacyLedger(tmp_path).spend(release("b"), DELTA, None)
    assert PrivacyLedger(tmp_path).spend(release("a"), DELTA, None)  # a state from a backup
    assert PrivacyLedger(tmp_path).events[1].times == 3


def test_nothing_is_paid_beyond_the_budget(tmp_path: Path) -> None:
    spending = PrivacyLedger(tmp_path)
    twice = epsilon([Event(1.0, 0.1, 18), Event(8.0, 1.0, 2)], DELTA)
    paid = [spending.spend(release(str(n)), DELTA, twice) for n in range(4)]
    assert paid == [True, True, False, False]
    assert epsilon(PrivacyLedger(tmp_path).events, DELTA) == twice


def test_every_device_has_a_secret_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    keys = [PrivacyLedger(folder).key("run") for folder in folders]
    assert keys[0] != keys[1]
    assert [PrivacyLedger(folder).key("run") for folder in folders] == keys
    assert PrivacyLedger(folders[0]).key("another run") != keys[0]
    spending = PrivacyLedger(folders[0])
    spending.spend(release("a"), DELTA, None)
    assert PrivacyLedger(folders[0]).key("run") == keys[0]
    assert stat.S_IMODE((folders[0] / "privacy.json").stat().st_mode) == 0o600


def told(key: str = "00" * 32, noise: float = 1.0, rate: float = 0.1, times: int = 1) -> str:
    event = {"noise": noise, "rate": rate, "times": times}
    return json.dumps({"secret": key, "last": "", "events": [event]})


def test_what_the_next_test_changes_is_sound(tmp_path: Path) -> None:
    (tmp_path / "privacy.json").write_text(told())
    assert PrivacyLedger(tmp_path).events == (Event(1.0, 0.1, 1),)


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", '{"secret": "zz"}', '{"secret": "00", "last": ""}', "[" * 100_000),
        *(told(key=""), told(key="00"), told(noise=0.0), told(noise=-1.0)),
        *(told(noise=1e-300), told(rate=5.0), told(rate=-0.1), told(times=0), told(times=-3)),
        told(times=10**30),
    ],
)
def test_a_damaged_ledger_is_told_and_not_begun_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "privacy.json").write_text(content)
    with pytest.raises(RunError, match=r"is damaged .*; restore it; without it nobody knows"):
        PrivacyLedger(tmp_path)
    assert (tmp_path / "privacy.json").read_text() == content


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("spending") / "data")


def device(
    source: Path, folder: Path, policy: PolicySettings, architecture: str = "cnn"
) -> DeviceContext:
    folder.mkdir()
    settings = DeviceSettings(
        name="one",
        task="t",
        folder=folder,
        data=DataSettings(source=str(source)),
        training=TrainingSettings(architecture=architecture, threads=1),
        model=ModelSettings(every_rounds=0),
        privacy=policy,
    )
    return load_context(settings)


def asked(source: Path, **changes: Any) -> Contract:
    names = data.load(str(source)).class_names
    return contract(**{"class_names": names, "privacy": PrivacySettings(epsilon=4.0), **changes})


def test_the_lower_budget_counts(source: Path, tmp_path: Path) -> None:
    agreed = asked(source)
    for limit, budget in ((None, 4.0), (3.0, 3.0), (5.0, 4.0)):
        mine = device(source, tmp_path / f"{limit}", PolicySettings(max_epsilon=limit))
        purse = open_session(mine, agreed).privacy
        assert purse is not None
        assert purse.limit == budget
    endless = asked(source, privacy=PrivacySettings())
    purse = open_session(device(source, tmp_path / "any", PolicySettings()), endless).privacy
    assert purse is not None
    assert purse.limit is None


@pytest.mark.parametrize(
    ("policy", "changes", "said"),
    [
        ({"require": True}, {"privacy": None}, "privacy: this device wants it, and t has none"),
        ({"max_epsilon": 9.0}, {"privacy": None}, "give the task a .privacy. table"),
        ({"max_delta": 1e-6}, {}, "the task's delta is 1e-05, this device allows 1e-06"),
        ({}, {"algorithm": "ditto"}, "a round of ditto is more than one descent"),
    ],
)
def test_a_task_that_the_device_does_not_want(
    source: Path, tmp_path: Path, policy: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    mine = device(source, tmp_path / "device", PolicySettings(**policy))
    with pytest.raises(ConfigError, match=said):
        open_session(mine, asked(source, **changes))


class WithoutOpacus:
    """A finder by which it is not installed."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] == "opacus":
            raise ModuleNotFoundError(name, name=name)


def test_a_device_that_cannot_count_takes_no_part(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", [WithoutOpacus, *sys.meta_path])
    accounting._rdp.cache_clear()
    mine = device(source, tmp_path / "device", PolicySettings())
    with pytest.raises(ConfigError, match=r"not installed; pip install 'edgeloop\[privacy\]'"):
        open_session(mine, asked(source))


def test_a_model_that_mixes_samples_is_refused(source: Path, tmp_path: Path) -> None:
    mine = device(source, tmp_path / "device", PolicySettings(), "resnet4")
    with pytest.raises(ModelError, match="model of one: has batch normalisation"):
        open_session(mine, asked(source))


def test_without_privacy_there_is_no_ledger(source: Path, tmp_path: Path) -> None:
    mine = device(source, tmp_path / "device", PolicySettings())
    found = open_session(mine, asked(source, privacy=None))
    assert found.privacy is None
    assert not (tmp_path / "device" / "privacy.json").exists()
    assert "privacy" not in found.contract.text()  # which an older agent would refuse
