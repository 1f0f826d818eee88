"""A tritonserver for the tests of serving."""

from collections.abc import Iterator

import pytest

from cloud.generator_service.server import TritonInstallation
from tests import triton
from tests.triton import Server


@pytest.fixture(scope="session")
def triton_home() -> TritonInstallation:
    """Where the tritonserver is."""
    return triton.home()


@pytest.fixture(scope="session")
def tritonserver(
    triton_home: TritonInstallation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A running tritonserver; each test serves its own generators there, under its own names."""
    with triton.running(tmp_path_factory.mktemp("triton"), triton_home) as server:
        yield server
