"""A generator from its folder: latents, images, and files that cannot be run."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeloop.errors import GeneratorError
from edgeloop.generator import drawn_classes, noise, on_sphere
from edgeloop.generators import manifest
from edgeloop.generators.manifest import MAPPING, PARTS, SYNTHESIS
from edgeloop.generators.onnx import BATCH, OnnxGenerator
from tests.generators.tiny import write_tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


def resigned(folder: Path, **changes: object) -> Path:
    """Write the manifest again, so that it names the files that are there."""
    about = json.loads((folder / manifest.MANIFEST).read_text()) | changes
    del about["sha256"]
    manifest.write(folder, **about)
    return folder


def weight(path: Path, name: str) -> NDArray[np.float64]:
    stored = {each.name: each for each in onnx.load(path).graph.initializer}
    return numpy_helper.to_array(stored[name]).astype(np.float64)


def pixels(folder: Path, latents_NH: NDArray[np.float32]) -> NDArray[np.float64]:
    """The tiny generator's images by numpy, not rounded."""
    drawn = np.tanh(latents_NH @ weight(folder / SYNTHESIS, "weight_HP"))
    return ((drawn + 1) * 127.5).reshape(-1, 3, 8, 8)


def test_what_it_says_of_itself(folder: Path) -> None:
    made = OnnxGenerator(folder)
    assert (made.latent_dim, made.shape) == (8, (3, 8, 8))
    assert made.identity == manifest.read(folder).identity


def test_latents_are_the_seeds(folder: Path, tmp_path: Path) -> None:
    made, again = OnnxGenerator(folder), OnnxGenerator(write_tiny(tmp_path / "again"), threads=2)
    latents_NH = made.sample_latents(6, seed=1)
    assert latents_NH.shape == (6, 8)
    assert latents_NH.dtype == np.float32
    assert np.array_equal(latents_NH, made.sample_latents(6, seed=1))
    assert np.array_equal(latents_NH, again.sample_latents(6, seed=1))
    assert not np.isclose(latents_NH, made.sample_latents(6, seed=2)).all(axis=1).any()
    assert made.sample_latents(0, seed=1).shape == (0, 8)


def test_latents_are_what_the_mapping_makes_of_the_noise(folder: Path) -> None:
    expected = np.tanh(noise(6, 9, 5) @ weight(folder / MAPPING, "weight_ZH"))
    found = OnnxGenerator(folder).sample_latents(6, seed=5)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_conditional_mapping_is_given_drawn_classes(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", classes=4)
    embedded = weight(folder / MAPPING, "classes_KH")[drawn_classes(6, 4, 5)]
    expected = np.tanh(noise(6, 9, 5) @ weight(folder / MAPPING, "weight_ZH") + embedded)
    found = OnnxGenerator(folder).sample_latents(6, seed=5)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_latents_and_their_averages_become_images(folder: Path) -> None:
    made = OnnxGenerator(folder)
    latents_NH = made.sample_latents(6, seed=1)
    mean_1H = latents_NH.mean(axis=0, keepdims=True)
    for each_NH in (latents_NH, mean_1H, np.zeros((1, 8), np.float32)):
        images = made.synthesize(each_NH)
        assert images.dtype == np.uint8
        np.testing.assert_allclose(images, pixels(folder, each_NH), atol=0.51)
    assert np.abs(made.synthesize(mean_1H) - made.synthesize(latents_NH).astype(int)).max() > 10


@pytest.mark.parametrize("count", [0, 1, BATCH, 2 * BATCH + 3])
def test_as_many_images_as_latents_in_their_order(folder: Path, count: int) -> None:
    made = OnnxGenerator(folder)
    latents_NH = made.sample_latents(count, seed=1)
    images = made.synthesize(latents_NH)
    assert images.shape == (count, 3, 8, 8)
    assert images.dtype == np.uint8
    np.testing.assert_allclose(images, pixels(folder, latents_NH), atol=0.51)


def test_latents_are_normalised_as_the_manifest_says(folder: Path) -> None:
    latents_NH = OnnxGenerator(folder).sample_latents(3, seed=1)
    assert np.array_equal(OnnxGenerator(folder).normalise(latents_NH), latents_NH)
    found = OnnxGenerator(resigned(folder, sphere=5)).normalise(latents_NH)
    assert np.array_equal(found, on_sphere(latents_NH, 5))
    assert not np.array_equal(found, latents_NH)


def test_latents_of_another_width_are_refused(folder: Path) -> None:
    made = OnnxGenerator(folder)
    uses: list[Callable[[NDArray[np.float32]], object]] = [made.normalise, made.synthesize]
    for use in uses:
        with pytest.raises(ValueError, match=r"latents of shape \(2, 7\), the generator's are 8"):
            use(np.zeros((2, 7), np.float32))


def noise_bytes(length: int) -> bytes:
    return np.random.default_rng(0).bytes(length)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "junk": lambda whole: noise_bytes(len(whole)),
    "cut short": lambda whole: whole[:-20],
    "cut in half": lambda whole: whole[: len(whole) // 2],
    "begun again": lambda whole: b"\x08\x08",
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_not_the_manifests(folder: Path, part: str, damage: str) -> None:
    path = folder / part
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(GeneratorError) as caught:
        OnnxGenerator(folder)
    assert caught.value.field == str(path)
    assert "its SHA-256 is another" in caught.value.problem
    assert caught.value.remedy == "import or fetch the generator again"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_that_the_manifest_names_is_one_sentence(
    folder: Path, part: str, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / part
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    resigned(folder)
    with pytest.raises(GeneratorError) as caught:
        OnnxGenerator(folder)
    assert caught.value.field == str(path)
    assert caught.value.problem.startswith("cannot be run (")
    assert caught.value.remedy == "import it again"
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("key", "part"), [("noise_dim", MAPPING), ("latent_dim", SYNTHESIS)])
def test_a_manifest_of_other_widths_than_its_files(folder: Path, key: str, part: str) -> None:
    with pytest.raises(
        GeneratorError, match=rf"{part}: reads \d+ entries, and the manifest says 77"
    ):
        OnnxGenerator(resigned(folder, **{key: 77}))


def replaced(folder: Path, shape: tuple[int, ...], kind: int = TensorProto.UINT8) -> Path:
    """Have the synthesis make one array, whatever the latents are."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Cast", ["zeros"], ["images"], to=kind),
    ]
    latents = helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["N", 8])
    images = helper.make_tensor_value_info("images", kind, None)
    size = numpy_helper.from_array(np.array(shape, np.int64), "shape")
    graph = helper.make_graph(nodes, "hostile", [latents], [images], [size])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / SYNTHESIS)
    return resigned(folder)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((2, 3, 4, 4), TensorProto.UINT8),
        ((5,), TensorProto.UINT8),
        ((1, 3, 8, 8), TensorProto.UINT8),
        ((2, 3, 8, 8), TensorProto.FLOAT),
        ((2, 3, 8, 8), TensorProto.STRING),
    ],
)
def test_images_of_another_kind_are_not_taken(
    folder: Path, shape: tuple[int, ...], kind: int
) -> None:
    made = OnnxGenerator(replaced(folder, shape, kind))
    with pytest.raises(GeneratorError, match=r"makes images .*, and the manifest says \(2, 3, 8"):
        made.synthesize(np.zeros((2, 8), np.float32))


def test_more_than_memory_holds_is_an_error(folder: Path) -> None:
    made = OnnxGenerator(replaced(folder, (2**20, 2**20, 2**20)))
    with pytest.raises(GeneratorError, match="fails"):
        made.synthesize(np.zeros((2, 8), np.float32))


def test_a_generator_that_has_no_classes_is_not_given_any(folder: Path) -> None:
    made = OnnxGenerator(resigned(folder, classes=5))
    with pytest.raises(GeneratorError, match="fails"):
        made.sample_latents(2, seed=0)


def test_classes_beyond_all_numbers_are_refused(folder: Path) -> None:
    path = folder / manifest.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": 10**30}))
    with pytest.raises(GeneratorError, match=r"classes: .* is too large"):
        OnnxGenerator(folder)


@pytest.mark.parametrize("where", ["weights.bin", "../weights.bin"])
def test_weights_in_a_file_of_their_own_are_not_taken(folder: Path, where: str) -> None:
    """No checksum is theirs: they could be others tomorrow."""
    model = onnx.load(folder / SYNTHESIS)
    (stored,) = (each for each in model.graph.initializer if each.name == "weight_HP")
    (folder / where).write_bytes(stored.raw_data)
    stored.ClearField("raw_data")
    stored.data_location = TensorProto.EXTERNAL
    stored.external_data.add(key="location", value=where)
    (folder / SYNTHESIS).write_bytes(model.SerializeToString())
    with pytest.raises(GeneratorError, match=r"synthesis.onnx: cannot be run .*[Ee]xternal"):
        OnnxGenerator(resigned(folder))
