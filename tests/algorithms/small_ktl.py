"""A small FedKTL: its generator, its configuration, and five clients' uploads."""

import json
from pathlib import Path

import numpy as np

from edgeloop.algorithms.fedktl import Config
from edgeloop.generators import manifest
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.knowledge.prototypes import PrototypeUpload, concatenated
from tests.generators.tiny import write_tiny


def small_generator(folder: Path) -> OnnxGenerator:
    """Eight entries a latent, whose first four lie on a sphere; images of 3 x 8 x 8."""
    write_tiny(folder)
    about = json.loads((folder / manifest.MANIFEST).read_text()) | {"sphere": 4}
    del about["sha256"]
    manifest.write(folder, **about)
    return OnnxGenerator(folder)


def small_config(generator: OnnxGenerator) -> Config:
    return Config(
        classes=3,
        width=5,
        shape=(1, 4, 4),
        latent_dim=8,
        generator_sha256=generator.identity,
        server_epochs=5,
    )


def upload(*labels: int, classes: int = 3, seed: int = 0) -> PrototypeUpload:
    """A client's unit vectors, each near its class's axis."""
    noise_NC = np.random.default_rng(seed).standard_normal((len(labels), classes), np.float32)
    near_NC = np.eye(classes, dtype=np.float32)[list(labels)] + np.float32(0.2) * noise_NC
    units_NC = near_NC / np.linalg.norm(near_NC, axis=1, keepdims=True)
    return PrototypeUpload(np.array(labels, np.int64), np.ones(len(labels), np.int64), units_NC)


UPLOADS = [upload(0, 1, 2, seed=seed) for seed in range(5)]
LABELS_N, _, PROTOTYPES_NC = concatenated(UPLOADS)
