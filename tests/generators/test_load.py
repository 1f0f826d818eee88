"""Generators by reference: where they are looked for, and what is said if there is none."""

from pathlib import Path

import pytest

from edgeloop import generators
from edgeloop.errors import GeneratorError, UnavailableError
from edgeloop.generators import manifest
from edgeloop.runtime.ports import free_port
from tests.generators.tiny import write_tiny


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store's own folder; the working folder is another."""
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home" / "generators"


def identity(folder: Path) -> str:
    return manifest.read(folder).identity


def test_a_folder_by_its_path(tmp_path: Path) -> None:
    absolute = write_tiny(tmp_path / "somewhere" / "mine")
    relative = write_tiny(tmp_path / "work" / "mine", seed=1)
    assert generators.load(str(absolute)).identity == identity(absolute)
    assert generators.load("mine").identity == identity(relative)
    assert generators.load("./mine").identity == identity(relative)
    assert generators.load("../somewhere/mine").identity == identity(absolute)


def test_the_store_goes_before_the_working_folder(tmp_path: Path, home: Path) -> None:
    stored = write_tiny(home / "mine")
    here = write_tiny(tmp_path / "work" / "mine", seed=1)
    assert generators.folder_of("mine") == stored
    assert generators.load("mine").identity == identity(stored)
    assert generators.load("./mine").identity == identity(stored)
    assert generators.load(str(here)).identity == identity(here)


def test_the_embedded_one_goes_before_the_store(home: Path) -> None:
    write_tiny(home / generators.EMBEDDED)
    place = generators.folder_of(generators.EMBEDDED)
    assert place == Path(generators.__file__).parent / "digits"


def test_the_embedded_one_is_whole() -> None:
    digits = generators.load("digits")
    latents_NH = digits.sample_latents(4, seed=0)
    images = digits.synthesize(latents_NH)
    assert images.shape == (4, *digits.shape)
    assert all((images[0] != image).any() for image in images[1:])


def test_the_store_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert generators.store() == tmp_path / "home" / "generators"
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    in_the_users_data = tmp_path / "user" / ".local" / "share" / "edgeloop" / "generators"
    monkeypatch.setenv("EDGELOOP_HOME", "")
    assert generators.store() == in_the_users_data
    monkeypatch.delenv("EDGELOOP_HOME")
    assert generators.store() == in_the_users_data


@pytest.mark.parametrize(
    "reference", ["faces", "", ".", "..", "/", "http://h:8001/digits", "n" * 300, "a\0b"]
)
def test_an_unknown_reference(reference: str) -> None:
    with pytest.raises(GeneratorError) as caught:
        generators.load(reference)
    assert caught.value.field == "generator"
    assert caught.value.problem == f"there is no generator {reference!r}"
    assert "`edgeloop generator list`" in caught.value.remedy
    assert "a folder or triton://HOST:PORT/NAME" in caught.value.remedy


def test_a_damaged_one_in_the_store_is_not_passed_over(tmp_path: Path, home: Path) -> None:
    write_tiny(tmp_path / "work" / "mine")
    (write_tiny(home / "mine") / manifest.SYNTHESIS).unlink()
    with pytest.raises(GeneratorError, match=r"synthesis\.onnx: is not there"):
        generators.load("mine")


def test_a_served_one_is_asked_for_at_its_address() -> None:
    heard: list[str | None] = []
    with pytest.raises(GeneratorError, match=r"^port of 'triton://h/digits'"):
        generators.load("triton://h/digits")
    with pytest.raises(UnavailableError, match="has given no answer for 0 s"):
        generators.load(
            f"triton://127.0.0.1:{free_port()}/digits", patience_seconds=0, on_problem=heard.append
        )
    assert heard
    assert heard[0] is not None


def test_a_diffusion_folder_is_read_as_one(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match=r"holds no model_index\.json"):
        generators.load(f"diffusers:{tmp_path}")
