"""Every test here needs helm; those of a set of values run for each set."""

import pytest

from tests.helm import chart


@pytest.fixture(autouse=True)
def _tools() -> None:
    chart.tools()


@pytest.fixture(params=chart.names())
def name(request: pytest.FixtureRequest) -> str:
    """The name of a set of values in the chart's ci/."""
    return str(request.param)


@pytest.fixture
def manifests(name: str) -> list[chart.Manifest]:
    """What helm makes of a set of values."""
    return chart.rendered(name)
