import csv
import io
from typing import Any

from simulations.results.comparison_tables import as_csv, as_latex, escape


def side(name: str, accuracy: float, std: float | None, bytes_up: float) -> dict[str, Any]:
    def described(mean: float, spread: float | None) -> dict[str, Any]:
        return {"mean": mean, "std": spread, "ci95": None, "runs": [mean]}

    return {
        "name": name,
        "folders": ["x"] * (1 if std is None else 3),
        "best_accuracy": described(accuracy, std),
        "final_accuracy": described(accuracy - 0.01, std),
        "bytes_up": described(bytes_up, std),
        "seconds": {"mean": None, "std": None},  # one of them does not tell
    }


FOUND = {"a": side("FedAvg_1 & 2", 0.9, 0.005, 1234567.0), "b": side("Local", 0.875, None, 0.0)}


def test_csv_has_a_line_a_side() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(FOUND))))
    assert [row["name"] for row in rows] == ["FedAvg_1 & 2", "Local"]
    assert [row["runs"] for row in rows] == ["3", "1"]
    assert [float(row["best_accuracy"]) for row in rows] == [0.9, 0.875]
    assert [row["best_accuracy_std"] for row in rows] == ["0.005", ""]
    assert "seconds" not in rows[0]


def test_latex_is_a_tabular() -> None:
    lines = as_latex(FOUND).splitlines()
    assert lines[0] == r"\begin{tabular}{lrrr}"
    assert lines[2] == r" & best accuracy & last accuracy & bytes up \\"
    assert lines[4] == (
        r"FedAvg\_1 \& 2 & $90.00 \pm 0.50$ & $89.00 \pm 0.50$ & $1{,}234{,}567 \pm 0$ \\"
    )
    assert lines[5] == r"Local & $87.50$ & $86.50$ & $0$ \\"
    assert lines[-1] == r"\end{tabular}"


def test_what_latex_would_read_is_escaped() -> None:
    assert escape(r"a\b~{") == r"a\textbackslash{}b\textasciitilde{}\{"
