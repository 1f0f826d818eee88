import json
import os
import pickle
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cloud.generator_service import importing, pickled
from cloud.generator_service.importing import GeneratorInfo, ImportOptions
from cloud.generator_service.stylegan import modules, unpickle
from edgeloop import generators
from edgeloop.errors import ConfigError, GeneratorError
from edgeloop.generators import manifest
from edgeloop.generators.onnx import OnnxGenerator
from tests.cloud.generator_service import networks
from tests.cloud.generator_service.states import saved, tiny_state
from tests.generators.tiny import write_tiny

ABOUT = GeneratorInfo("mine", "Mine", "file.pkl", "MIT")
TRUSTED = ImportOptions(trust=True)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "generators"


def said(_: str) -> None:
    """Hear what is being done."""


def test_a_folder_is_copied_under_the_new_name(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "theirs", classes=3)
    written = importing.import_generator(folder, ABOUT, ImportOptions(), said)
    before, after = manifest.read(folder), manifest.read(generators.store() / "mine")
    assert written == after
    assert after.name == "mine"
    assert after.identity == before.identity
    assert after.model_dump(exclude={"name"}) == before.model_dump(exclude={"name"})


@pytest.mark.parametrize("name", ["a.pkl", "a.pt"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
        (b"\n<!DOCTYPE html><html>quota exceeded</html>", "a web page"),
        (b"  <HTML>", "a web page"),
        (b"<?xml version='1.0'?><Error/>", "a web page"),
        (b"", "empty"),
    ],
)
def test_what_a_download_left_instead(
    tmp_path: Path, home: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GeneratorError, match=rf"{name}: is {words}.*, not the file itself"):
        importing.import_generator(tmp_path / name, ABOUT, TRUSTED, said)
    assert not home.exists()


def test_a_damaged_folder(tmp_path: Path, home: Path) -> None:
    folder = write_tiny(tmp_path / "theirs")
    (folder / "synthesis.onnx").write_bytes(b"damaged")
    with pytest.raises(GeneratorError, match="is not the file that the manifest names"):
        importing.import_generator(folder, ABOUT, ImportOptions(), said)
    about = json.loads((folder / "generator.json").read_text())
    del about["sha256"]
    manifest.write(folder, **about)
    with pytest.raises(GeneratorError, match="cannot be run"):
        importing.import_generator(folder, ABOUT, ImportOptions(), said)
    assert not list(home.iterdir())


def test_a_folder_that_makes_other_images_than_it_says(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "theirs")
    about = json.loads((folder / "generator.json").read_text()) | {"shape": [3, 9, 9]}
    del about["sha256"]
    manifest.write(folder, **about)
    with pytest.raises(GeneratorError, match=r"makes images \(2, 3, 8, 8\) of uint8"):
        importing.import_generator(folder, ABOUT, ImportOptions(), said)


def test_a_folder_of_another_width(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "theirs")
    about = json.loads((folder / "generator.json").read_text()) | {"noise_dim": 4}
    del about["sha256"]
    manifest.write(folder, **about)
    with pytest.raises(
        GeneratorError, match=r"theirs/mapping.onnx: reads 9 entries, and the manifest says 4"
    ):
        importing.import_generator(folder, ABOUT, ImportOptions(), said)


def test_a_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "dcgan.pth"
    path.write_bytes(saved({"netG": tiny_state()}))
    written = importing.import_generator(path, ABOUT, ImportOptions(key="netG", classes=2), said)
    assert (written.classes, written.sphere, written.latent_dim) == (2, 4, 6)
    assert (written.name, written.source, written.licence) == ("mine", "file.pkl", "MIT")


@pytest.mark.parametrize("name", ["weights.bin", "weights"])
def test_a_file_of_no_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(GeneratorError, match=r"ending in \.pt, \.pth, \.tar, \.pkl"):
        importing.import_generator(tmp_path / name, ABOUT, ImportOptions(), said)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="is not there"):
        importing.import_generator(tmp_path / "no.pkl", ABOUT, TRUSTED, said)


def test_a_pickle_needs_trust(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "style.pkl"
    path.write_bytes(pickle.dumps(Writes(tmp_path / "code-was-run")))
    with pytest.raises(ConfigError, match=r"--trust: style\.pkl is a pickle: .* runs code in it"):
        importing.import_generator(path, ABOUT, ImportOptions(), said)
    assert not (tmp_path / "code-was-run").exists()
    assert not home.exists()


@pytest.mark.parametrize("source", [networks.STYLE2, networks.STYLE3], ids=["style2", "style3"])
@pytest.mark.parametrize("classes", [0, 3])
def test_a_stylegan_makes_the_images_of_its_own_source(
    tmp_path: Path, source: str, classes: int
) -> None:
    path = tmp_path / "style.pkl"
    network = networks.write_random(path, source, classes)
    heard: list[str] = []
    written = importing.import_generator(path, ABOUT, TRUSTED, heard.append)
    assert heard[0] == "reading style.pkl"
    assert (written.noise_dim, written.latent_dim, written.classes) == (6, 5, classes)
    made = OnnxGenerator(generators.store() / "mine")
    latents = made.sample_latents(4, 0)
    means = np.concatenate([latents, latents.mean(axis=0, keepdims=True)])
    np.testing.assert_allclose(latents, expected_latents(network, classes), atol=1e-4)
    np.testing.assert_allclose(made.synthesize(means), expected_images(network, means), atol=0.6)


def expected_latents(network: Any, classes: int) -> np.ndarray[Any, Any]:
    """Draw as a generator does, by the network itself."""
    noise = np.random.default_rng(0).standard_normal((4, 6), np.float32)
    chosen = None
    if classes:
        drawn = np.random.default_rng([0, 1]).integers(0, classes, 4)
        chosen = torch.eye(classes)[torch.from_numpy(drawn)]
    with torch.no_grad():
        latents: np.ndarray[Any, Any] = network.mapping(torch.from_numpy(noise), chosen)[:, 0]
    return np.asarray(latents)


def expected_images(network: Any, latents: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return pixels, one sample at a time, by the network's own fused convolutions."""
    with torch.no_grad():
        images = [
            network.synthesis(torch.from_numpy(one)[None, None].repeat(1, 3, 1), noise_mode="const")
            for one in latents
        ]
    pixels: np.ndarray[Any, Any] = np.clip((torch.cat(images).numpy() + 1) * 127.5, 0, 255)
    assert len(np.unique(pixels.round())) > 50
    return pixels


def test_what_else_a_file_holds_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "style.pkl"
    networks.write_random(path, networks.STYLE2, D=Writes(tmp_path / "code-was-run"))
    importing.import_generator(path, ABOUT, TRUSTED, said)
    assert not (tmp_path / "code-was-run").exists()


class Writes:
    """Pickled, it is a call that makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.path),)


_HANG = "import time, torch\ntime.sleep(600)\n"


def dies(path: Path) -> None:
    kill = f"import os, torch\nos.kill(os.getpid(), {int(signal.SIGKILL)})\n"
    write_with(path, kill)


def raises(path: Path) -> None:
    write_with(path, "import torch\nraise OSError('the disk is full')\n")


def exits(path: Path) -> None:
    write_with(path, "import os, torch\nos._exit(7)\n")


def write_with(path: Path, start: str) -> None:
    """Write a network whose source, when it is read, does something else first."""
    with modules.installed():
        network = networks.build(networks.STYLE2)
        networks.write(path, network, networks.STYLE2.replace("import torch\n", start, 1))


def without_generator(path: Path) -> None:
    path.write_bytes(pickle.dumps({"G": None}))


def a_list(path: Path) -> None:
    path.write_bytes(pickle.dumps([1]))


def another_object(path: Path) -> None:
    path.write_bytes(pickle.dumps({"G_ema": Writes(path.parent / "code-was-run")}))


def damaged(path: Path) -> None:
    networks.write_random(path, networks.STYLE2)
    path.write_bytes(path.read_bytes()[:5000])


def text(path: Path) -> None:
    path.write_text("no pickle")


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (dies, "the process that read it ended with signal 9"),
        (exits, "the process that read it ended with code 7"),
        (raises, r"its own source failed \(OSError: the disk is full\)"),
        (without_generator, "holds no 'G_ema' that brings its own source"),
    ],
)
def test_a_pickle_that_fails_is_told_in_one_sentence(
    tmp_path: Path, home: Path, write: Callable[[Path], None], problem: str
) -> None:
    write(tmp_path / "style.pkl")
    with pytest.raises(GeneratorError, match=rf"^style\.pkl: {problem}") as caught:
        importing.import_generator(tmp_path / "style.pkl", ABOUT, TRUSTED, said)
    assert "\n" not in str(caught.value)
    assert not list(home.iterdir())


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (a_list, "holds no 'G_ema' that brings its own source"),
        (another_object, "holds no 'G_ema' that brings its own source"),
        (damaged, r"is no StyleGAN file \("),
        (text, r"is no StyleGAN file \("),
    ],
)
def test_what_is_no_stylegan(tmp_path: Path, write: Callable[[Path], None], problem: str) -> None:
    write(tmp_path / "style.pkl")
    with pytest.raises(GeneratorError, match=rf"^style\.pkl: {problem}"):
        unpickle.read(tmp_path / "style.pkl")
    assert not (tmp_path / "code-was-run").exists()


def test_a_pickle_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_with(tmp_path / "style.pkl", _HANG)
    monkeypatch.setattr(importing, "LONGEST_SECONDS", 0.5)
    with pytest.raises(GeneratorError, match="took longer than 0 s to convert"):
        importing.import_generator(tmp_path / "style.pkl", ABOUT, TRUSTED, said)


def test_the_process_of_its_own_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text(tmp_path / "style.pkl")
    assert pickled.main([str(tmp_path / "style.pkl"), str(tmp_path), "{}"]) == 2
    assert capsys.readouterr().err.startswith("style.pkl: is no StyleGAN file (")


def test_a_generator_with_a_part_that_is_not_allowed(tmp_path: Path) -> None:
    with modules.installed():
        network = networks.build(networks.STYLE2)
        network.options = Writes(tmp_path / "code-was-run")  # type: ignore[assignment]  # not a module
        networks.write(tmp_path / "style.pkl", network, networks.STYLE2)
        with pytest.raises(GeneratorError, match=r"its generator holds a posix\.mkdir"):
            unpickle.read(tmp_path / "style.pkl")
    assert not (tmp_path / "code-was-run").exists()


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "theirs")
    importing.import_generator(folder, ABOUT, ImportOptions(), said)
    other = write_tiny(tmp_path / "others", seed=1)
    with pytest.raises(GeneratorError, match="mine: is in the local store already"):
        importing.import_generator(other, ABOUT, ImportOptions(), said)
    written = importing.import_generator(other, ABOUT, ImportOptions(replace=True), said)
    shutil.rmtree(other)
    assert generators.load("mine").identity == written.identity
