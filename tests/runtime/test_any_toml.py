"""Whatever is in a configuration file: it is read, or one sentence names what is wrong."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cloud.aggregator.settings import TaskSettings
from edge.agent.settings import DeviceSettings
from edgeloop.errors import ConfigError
from edgeloop.runtime.config import Settings, read
from simulations.settings import parse_options

TASK: dict[str, Any] = {
    "name": "t",
    "algorithm": "fedproto",
    "hyperparameters": {"local_lr": 0.1},
    "class_names": ["a", "b"],
    "shape": [1, 28, 28],
    "rounds": 2,
    "folder": "task",
    "broker": {"port": 1883, "ca_file": "ca.pem"},
    "cohort": {"devices": ["one", "two"], "quorum": 1},
    "http": {"port": 0},
    "privacy": {"noise": 1.0},
}
DEVICE: dict[str, Any] = {
    "name": "one",
    "task": "t",
    "folder": "one",
    "broker": {"connect_seconds": 1.0},
    "data": {"source": "fashion-sample", "partition": "iid", "clients": 3},
    "training": {"threads": "auto"},
    "privacy": {"max_epsilon": 1.0},
}
GOOD: dict[type[Settings], dict[str, Any]] = {TaskSettings: TASK, DeviceSettings: DEVICE}
KINDS = pytest.mark.parametrize("kind", GOOD)
SHARED = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])

SCALARS = (
    st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.datetimes()
    | st.sampled_from([10**400, "\0", "a" * 5000, "", "/", "~", "../.."])
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    SCALARS, lambda x: st.lists(x, max_size=3) | st.dictionaries(KEYS, x, max_size=3)
)


def tried(kind: type[Settings], folder: Path, content: bytes) -> None:
    """Read a file with this content, or hear one sentence about it."""
    path = folder / "file.toml"
    path.write_bytes(content)
    said = ""
    try:
        read(path, kind)
    except ConfigError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 10_000


@KINDS
@SHARED
@given(content=st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode()))
@example(content=b"a = " + b"[" * 100_000)
@example(content=b"a = " + b"{b=" * 100_000)
@example(content=b"a" + b".a" * 2000 + b" = 1")
@example(content=b"[" + b".".join([b"a"] * 2000) + b"]")
@example(content=b"rounds = " + b"9" * 100_000)
@example(content=b"rounds = 1e99999")
@example(content=b"a = 0001-01-01T00:00:00+23:59")
@example(content=b"a = 9999-12-31T23:59:60Z")
@example(content=b'"\\uD800" = 1')
def test_any_content(kind: type[Settings], tmp_path: Path, content: bytes) -> None:
    tried(kind, tmp_path, content)


@KINDS
@SHARED
@given(data=st.data())
def test_any_value_of_a_key(kind: type[Settings], tmp_path: Path, data: st.DataObject) -> None:
    table = {**GOOD[kind]}
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(kind.model_fields)))
        inner = table.get(key)
        if isinstance(inner, dict) and inner and data.draw(st.booleans()):
            name = data.draw(st.sampled_from(sorted(inner)) | KEYS)
            table[key] = {**inner, name: data.draw(VALUES)}
        else:
            table[key] = data.draw(VALUES)
    tried(kind, tmp_path, tomli_w.dumps(table).encode())


@KINDS
@SHARED
@given(data=st.data())
def test_a_byte_that_is_another(kind: type[Settings], tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(tomli_w.dumps(GOOD[kind]).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    tried(kind, tmp_path, bytes(content))


@KINDS
def test_what_is_changed_here_is_right_before(kind: type[Settings], tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    path.write_text(tomli_w.dumps(GOOD[kind]))
    assert isinstance(read(path, kind), kind)


@pytest.mark.parametrize("name", ["a\0b", "\0", ""])
def test_a_path_that_no_system_has(tmp_path: Path, name: str) -> None:
    path = tmp_path / "file.toml"
    path.write_text(tomli_w.dumps({**TASK, "folder": name}))
    with pytest.raises(ConfigError, match="folder: names no file and no folder"):
        read(path, TaskSettings)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "a b"])
def test_any_value_of_an_option(text: str) -> None:
    """Of `--set NAME=VALUE`, which is read as TOML."""
    with pytest.raises(ConfigError, match="is no TOML value") as caught:
        parse_options([f"local_lr={text}"])
    assert len(str(caught.value)) < 300
