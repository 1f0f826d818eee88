"""The example notebook runs as it stands, in a kernel, and shows what a person looks for."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first-steps.ipynb"


def outputs(cell: Any) -> dict[str, str]:
    """Return what a cell shows, by its kind; the last of each."""
    found: dict[str, str] = {}
    for output in cell.outputs:
        found |= output.get("data", {})
        if output.output_type == "stream":
            found[output.name] = output.text
    return found


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_the_notebook_runs(tmp_path: Path) -> None:
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code)  # it is kept without
    client = NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    shown = [outputs(cell) for cell in code]
    assert "data:image/png;base64" in shown[0]["text/html"]
    first = [
        each for each in code[0].outputs if "<progress" in each.get("data", {}).get("text/html", "")
    ]
    assert 'value="3" max="3"' in first[0].data["text/html"]  # the bar, at its end
    assert "accuracy_std" in shown[1]["text/html"]
    assert "<td>" in shown[2]["text/html"]
    assert "macro-f1" in shown[3]["text/html"]
    assert float(shown[4]["text/plain"]) > 0.8
    assert "report.html" in shown[5]["stdout"]
    assert "image/png" in shown[5]
