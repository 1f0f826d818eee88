"""Generators behind a real tritonserver, beside the same ones in process. Values are compared."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient

from cloud.generator_service.probe import probe
from cloud.generator_service.settings import Serving
from edgeloop import generators
from edgeloop.errors import GeneratorError, UnavailableError
from edgeloop.generator import Generator
from edgeloop.generators import control
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.generators.triton import TritonGenerator
from tests.devices import wait_until
from tests.generators.tiny import write_tiny
from tests.triton import Server

pytestmark = pytest.mark.triton


def _alike(served: Generator, local: Generator, latents: np.ndarray) -> None:
    """Images have the same bytes within one grey level, and are images: not one value."""
    found, expected = served.synthesize(latents), local.synthesize(latents)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert expected.std() > 20


@pytest.mark.parametrize("classes", [0, 5])
def test_the_same_as_in_process(tritonserver: Server, tmp_path: Path, classes: int) -> None:
    tiny = write_tiny(tmp_path / "tiny", classes=classes)
    reference = tritonserver.serve(tiny, f"same{classes}")
    served, local = TritonGenerator(reference), OnnxGenerator(tiny)
    assert (served.identity, served.latent_dim) == (local.identity, local.latent_dim)
    assert served.shape == local.shape
    for count in (1, 3, 100):
        latents = served.sample_latents(count, seed=count)
        np.testing.assert_allclose(latents, local.sample_latents(count, seed=count), atol=1e-6)
        _alike(served, local, latents)
        _alike(served, local, latents[::-1] * np.float32(0.5))  # not contiguous, and averages'


def test_by_its_reference(tritonserver: Server, tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tiny", seed=2)
    served = generators.load(tritonserver.serve(tiny, "loaded"))
    assert served.identity == OnnxGenerator(tiny).identity


def test_nothing_in_nothing_out(tritonserver: Server, tmp_path: Path) -> None:
    served = TritonGenerator(tritonserver.serve(write_tiny(tmp_path / "tiny"), "empty"))
    assert served.sample_latents(0, seed=0).shape == (0, 8)
    assert served.synthesize(np.zeros((0, 8), np.float32)).shape == (0, 3, 8, 8)


def test_latents_of_another_width(tritonserver: Server, tmp_path: Path) -> None:
    served = TritonGenerator(tritonserver.serve(write_tiny(tmp_path / "tiny"), "width"))
    with pytest.raises(ValueError, match=r"^latents of shape \(2, 9\), the generator's are 8 wide"):
        served.synthesize(np.zeros((2, 9), np.float32))


def test_normalised_as_its_manifest_says(tritonserver: Server, tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    served, local = TritonGenerator(tritonserver.serve(tiny, "norm")), OnnxGenerator(tiny)
    latents = served.sample_latents(3, seed=1)
    np.testing.assert_array_equal(served.normalise(latents), local.normalise(latents))


def test_more_samples_than_the_server_takes_at_once(tritonserver: Server, tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    reference = tritonserver.serve(tiny, "few", serving=Serving(max_batch_size=2))
    served, local = TritonGenerator(reference), OnnxGenerator(tiny)
    _alike(served, local, served.sample_latents(7, seed=1))


def test_requests_at_once_share_a_run_and_get_their_own_images(
    tritonserver: Server, tmp_path: Path
) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    patient = Serving(delay_microseconds=100_000, cache=False)
    reference = tritonserver.serve(tiny, "batched", serving=patient)
    served, local = TritonGenerator(reference), OnnxGenerator(tiny)
    latents = local.sample_latents(32, seed=1)
    samples, runs = _counts(tritonserver, "batched-synthesis")
    with ThreadPoolExecutor(16) as pool:
        parts = list(pool.map(served.synthesize, np.split(latents, 16)))
    assert np.abs(np.concatenate(parts).astype(int) - local.synthesize(latents)).max() <= 1
    # Triton counts a moment after its answer.
    wait_until(lambda: _counts(tritonserver, "batched-synthesis")[0] >= samples + 32)
    after = _counts(tritonserver, "batched-synthesis")
    assert after[0] == samples + 32
    assert after[1] <= runs + 8


def test_a_repeated_request_is_answered_from_the_cache(
    tritonserver: Server, tmp_path: Path
) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    served, local = TritonGenerator(tritonserver.serve(tiny, "cached")), OnnxGenerator(tiny)
    latents = served.sample_latents(2, seed=1)
    _, runs = _counts(tritonserver, "cached-synthesis")
    for _ in range(3):
        _alike(served, local, latents)
    _check_runs(tritonserver, "cached-synthesis", runs + 1)
    _alike(served, local, latents + 1)
    _check_runs(tritonserver, "cached-synthesis", runs + 2)


def test_a_second_version_beside_the_first(tritonserver: Server, tmp_path: Path) -> None:
    old, new = write_tiny(tmp_path / "a"), write_tiny(tmp_path / "b", seed=1)
    reference = tritonserver.serve(old, "two")
    early = TritonGenerator(reference)
    tritonserver.serve(new, "two", version=2)
    late, pinned = TritonGenerator(reference), TritonGenerator(reference + "?version=1")
    assert (early.version, late.version, pinned.version) == (1, 2, 1)
    latents = early.sample_latents(3, seed=1)
    for served, folder in ((early, old), (late, new), (pinned, old)):
        assert served.identity == OnnxGenerator(folder).identity
        _alike(served, OnnxGenerator(folder), latents)


def test_a_version_that_is_not_served(tritonserver: Server, tmp_path: Path) -> None:
    reference = tritonserver.serve(write_tiny(tmp_path / "tiny"), "one")
    with pytest.raises(GeneratorError, match="has no version 2; it has 1; ask for one it has"):
        TritonGenerator(reference + "?version=2")


def test_a_version_that_is_served_no_more(tritonserver: Server, tmp_path: Path) -> None:
    newest = Serving(versions=1)
    reference = tritonserver.serve(write_tiny(tmp_path / "a"), "gone", serving=newest)
    early = TritonGenerator(reference, patience_seconds=0.0)
    tritonserver.serve(write_tiny(tmp_path / "b", seed=1), "gone", version=2, serving=newest)
    with pytest.raises(UnavailableError, match="version 1 is not"):
        early.synthesize(np.zeros((1, 8), np.float32))


@pytest.mark.parametrize("latent_dim", [8, 4])
def test_another_generator_in_mid_life(
    tritonserver: Server, tmp_path: Path, latent_dim: int
) -> None:
    name, heard = f"changed{latent_dim}", list[str | None]()
    reference = tritonserver.serve(write_tiny(tmp_path / "a"), name)
    served = TritonGenerator(reference, watch=heard.append)
    latents = served.sample_latents(1, seed=1)
    served.synthesize(latents)
    other = write_tiny(tmp_path / "b", seed=1, latent_dim=latent_dim)
    for model in (f"{name}-mapping", f"{name}-synthesis"):  # as `repository.write` never does
        shutil.rmtree(tritonserver.repository / model)
    with pytest.raises(GeneratorError, match="has another generator as version 1"):
        tritonserver.serve(other, name)
    _load(tritonserver, f"{name}-mapping", f"{name}-synthesis")
    for ask in (lambda: served.synthesize(latents), lambda: served.sample_latents(1, seed=1)):
        with pytest.raises(GeneratorError, match="is another generator now"):
            ask()
    assert heard == []  # it was not asked again


def test_a_generator_that_is_not_there(
    tritonserver: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tritonserver.serve(write_tiny(tmp_path / "tiny"), "there")
    with pytest.raises(GeneratorError) as caught:
        TritonGenerator(tritonserver.reference("missing"))
    assert caught.value.problem.startswith("is not there (Request for unknown model: 'missing-map")
    assert "the server has" not in caught.value.problem  # that is for who knows its secret
    monkeypatch.setenv(control.VARIABLE, str(tritonserver.secret))
    with pytest.raises(GeneratorError) as caught:
        TritonGenerator(tritonserver.reference("missing"))
    assert "there" in caught.value.problem.partition("the server has ")[2].split(", ")


def test_models_that_are_not_ours(tritonserver: Server, tmp_path: Path) -> None:
    reference = tritonserver.serve(write_tiny(tmp_path / "tiny"), "foreign")
    for part in ("mapping", "synthesis"):
        config = tritonserver.repository / f"foreign-{part}" / "config.pbtxt"
        program = config.parent / "1" / "model.py"
        config.write_text(config.read_text().replace("edgeloop.manifest.1", "other"))
        program.write_text(program.read_text().replace("    _refuse_another(f", "    print(f"))
    _load(tritonserver, "foreign-mapping", "foreign-synthesis")
    with pytest.raises(GeneratorError, match="version 1 does not say which generator it is"):
        TritonGenerator(reference)


def test_a_request_that_cannot_be_right_harms_no_other(
    tritonserver: Server, tmp_path: Path
) -> None:
    tiny = write_tiny(tmp_path / "tiny", classes=3)
    patient = Serving(delay_microseconds=200_000, cache=False)
    reference = tritonserver.serve(tiny, "harm", serving=patient)
    served = TritonGenerator(reference)
    stranger = TritonGenerator(reference, patience_seconds=0.0)
    stranger.manifest = stranger.manifest.model_copy(update={"classes": 1000})
    with ThreadPoolExecutor(2) as pool:
        bad = pool.submit(stranger.sample_latents, 9, seed=1)
        good = pool.submit(served.sample_latents, 9, seed=1)
        expected = OnnxGenerator(tiny).sample_latents(9, seed=1)
        np.testing.assert_allclose(good.result(), expected, atol=1e-6)
        with pytest.raises(GeneratorError, match=r"refuses the request .*out of data bounds"):
            bad.result()


def test_the_probe_makes_an_image_each_time(tritonserver: Server, tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    reference, identity = tritonserver.serve(tiny, "probed"), OnnxGenerator(tiny).identity
    _, runs = _counts(tritonserver, "probed-synthesis")
    for count in (1, 2):
        found = probe(reference, identity[:12])
        assert (found.identity, found.version) == (identity, 1)
        assert 0 < found.seconds < 60
        _check_runs(tritonserver, "probed-synthesis", runs + count)


def _check_runs(tritonserver: Server, model: str, expected: int) -> None:
    """Triton counts a run a moment after its answer."""
    wait_until(lambda: _counts(tritonserver, model)[1] >= expected)
    assert _counts(tritonserver, model)[1] == expected


def test_the_probe_refuses_another_generator(tritonserver: Server, tmp_path: Path) -> None:
    reference = tritonserver.serve(write_tiny(tmp_path / "tiny"), "probed-other")
    with pytest.raises(GeneratorError, match=r"^identity: .* is not the expected 00ff"):
        probe(reference, "00ff")


def test_people_can_read_the_identity(tritonserver: Server, tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    tritonserver.serve(tiny, "read")
    address = f"http://127.0.0.1:{tritonserver.ports.http}/v2/models/read-synthesis/config"
    with urlopen(address) as answer:
        assert OnnxGenerator(tiny).identity.encode() in answer.read()


def _load(server: Server, *models: str) -> None:
    """Have a server load models, whatever they are."""
    client = InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")
    for model in models:
        client.load_model(model, server.headers)


def _counts(server: Server, model: str) -> tuple[int, int]:
    """Return how many samples and runs of a model there have been, its warm-up included."""
    client = InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")
    found = client.get_inference_statistics(model, headers=server.headers).model_stats[0]
    return int(found.inference_count), int(found.execution_count)
