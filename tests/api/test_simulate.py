"""`edgeloop.simulate`: one experiment in one call, with the command's bits."""

# Over 320 lines: whatever can be given to one function.

import json
import math
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import edgeloop
from edgeloop import models
from edgeloop.cli.main import main
from edgeloop.data import Partition
from edgeloop.errors import ConfigError, DataError, InputError, ModelError, RunError
from simulations.api.brought import data_name
from simulations.api.own_process import ONE_AT_A_TIME

ROOT = Path(__file__).parents[2]
COUNTED = 25


class Net(nn.Module):
    """A whole classifier of small images."""

    def __init__(self, shape: tuple[int, ...], classes: int = 10) -> None:
        super().__init__()
        self.hidden = nn.Linear(math.prod(shape), 12)
        self.last = nn.Linear(12, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.relu(self.hidden(inputs.flatten(1))))  # type: ignore[no-any-return]


def squares(samples: int = 200, side: int = 8) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images (N, side, side, 3) of two classes that are easily told apart, and labels."""
    random = np.random.default_rng(0)
    y = np.arange(samples) % 2
    x = random.integers(0, 90, (samples, side, side, 3)).astype(np.uint8)
    x[y == 1, : side // 2] += 120
    return x, y


def run(*arguments: Any, **changes: Any) -> edgeloop.Run:
    """Simulate something small, without a word."""
    small = {"partition": "iid", "clients": 2, "rounds": 2, "width": 16, "progress": False}
    return edgeloop.simulate(*arguments, **{**small, **changes})


def knowledge(found: edgeloop.Run) -> str:
    """Return what tells a run's result from any other's."""
    return str(found.summary["knowledge_sha256"])


def test_an_own_model_and_own_data_in_25_lines(tmp_path: Path) -> None:
    script = ROOT / "examples" / "own_model.py"
    assert len([line for line in script.read_text().splitlines() if line.strip()]) <= COUNTED
    random = np.random.default_rng(0)
    y = np.arange(240) % 10
    x = random.integers(0, 60, (240, 32, 32, 3)).astype(np.uint8)
    x[np.arange(240), 3 * y] += 180  # a bright line, in a place of the class's own
    np.savez(tmp_path / "cifar.npz", x=x, y=y)
    words = [sys.executable, str(script), str(tmp_path / "cifar.npz"), str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) > 0.9
    assert (tmp_path / "run" / "report.html").is_file()
    config = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (config["models"], config["width"]) == ("own-net", 32 * 14 * 14)


def test_the_command_s_bits(tmp_path: Path) -> None:
    words = "fedproto --data fashion-sample --partition dirichlet --alpha 1 --clients 3"
    more = "--samples 200 --rounds 2 --width 16 --models cnn --seed 4 --workers 1 --out"
    assert main(["simulate", *words.split(), *more.split(), str(tmp_path / "command")]) == 0
    found = edgeloop.simulate(
        "fedproto",
        "fashion-sample",
        "cnn",
        partition="dirichlet",
        alpha=1,
        clients=3,
        samples=200,
        rounds=2,
        width=16,
        seed=4,
    )
    summary = json.loads((tmp_path / "command" / "summary.json").read_text())
    assert knowledge(found) == summary["knowledge_sha256"]
    assert found.summary["accuracy_by_round"] == summary["accuracy_by_round"]
    assert found.summary["config"] == summary["config"]


def test_a_run_tells_saves_and_draws(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    found = run("fedavg", squares(), Net, metrics=["macro-f1"], local_lr=0.1)
    assert torch.get_num_threads() == threads
    assert [row["round"] for row in found.rows] == [0, 1, 2]
    history: Any = found.history
    assert list(history["accuracy"]) == found.summary["accuracy_by_round"]
    assert list(history["macro-f1"]) == found.summary["metrics_by_round"]["macro-f1"]
    assert found.accuracy == history["accuracy"][2] == found.summary["final_accuracy"]
    assert found.best_accuracy is not None
    assert repr(found) == f"<Run fedavg: 2 rounds, accuracy {found.accuracy:.4f}>"
    shown = found._repr_html_()
    assert 'src="data:image/png;base64,iVBOR' in shown
    assert f"{found.accuracy:.4f}" in shown
    assert found.plot().axes[0].get_title() == "FedAvg"
    saved = found.save(tmp_path / "saved")
    with pytest.raises(RunError, match="holds something; name a new folder"):
        found.save(saved)
    place = found.folder
    del found
    assert not place.exists()  # it was nobody's any more
    again = edgeloop.Run.load(saved)
    assert again.accuracy == history["accuracy"][2]
    assert again.report() == saved / "report.html"
    assert main(["report", str(saved), "--out", str(tmp_path / "page.html")]) == 0
    assert "FedAvg" in (tmp_path / "page.html").read_text()


def test_without_pandas_history_is_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    found = run("local", squares(), Net, rounds=1)
    assert isinstance(found.history, list)
    assert found.history == found.rows


def test_two_runs_beside_each_other(tmp_path: Path) -> None:
    one = run("fedavg", squares(), Net, seed=0, local_lr=0.1)
    other = run("local", squares(), Net, seed=0, out=tmp_path / "local")
    found = edgeloop.compare(other, one)
    assert found["same_partition"]
    assert repr(found) == found["sentence"]
    assert "<td>" in found._repr_html_()
    by_folder = edgeloop.compare(str(tmp_path / "local"), [one])
    assert by_folder["settings"] == found["settings"]
    several = [run("local", squares(), Net, seed=seed, rounds=1) for seed in (1, 2)]
    assert edgeloop.compare(several, several)["a"]["seeds"] == [1, 2]


class Pairs:
    """A torch data set in all but its base class."""

    classes = ("dark", "bright")

    def __init__(self) -> None:
        self.x, self.y = squares()

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return torch.tensor(self.x[number].transpose(2, 0, 1)), int(self.y[number])


def test_every_form_of_data_is_the_same_data() -> None:
    x, y = squares()
    whole = run("fedproto", (x, y), Net)
    tensors = run("fedproto", (torch.tensor(x), torch.tensor(y)), Net)
    first = run("fedproto", (x.transpose(0, 3, 1, 2), y.tolist()), Net)
    items = run("fedproto", Pairs(), Net)
    assert len({knowledge(each) for each in (whole, tensors, first, items)}) == 1
    assert whole.summary["config"]["data"] == tensors.summary["config"]["data"]
    partition = json.loads((items.folder / "partition.json").read_text())
    assert partition["class_names"] == ["dark", "bright"]
    words = run("local", (x, np.array(["cat", "dog"])[y]), Net, rounds=1)
    assert json.loads((words.folder / "partition.json").read_text())["class_names"] == [
        "cat",
        "dog",
    ]


@pytest.mark.parametrize("form", ["pairs", "datasets"])
def test_training_and_test_parts_are_pooled(form: str) -> None:
    """Keras' pair of pairs, and torch's `random_split`."""
    x, y = squares()
    parts: Any = ((x[:150], y[:150]), (x[150:], y[150:]))
    if form == "datasets":
        parts = [TensorDataset(torch.tensor(x), torch.tensor(y)) for x, y in parts]
    whole, pooled = (data_name(each) for each in ((x, y), parts))
    assert pooled == whole


def test_words_of_the_command_say_what_to_write() -> None:
    with pytest.raises(
        ConfigError, match="seeds: is an option of the command alone; call simulate"
    ):
        edgeloop.simulate("local", "fashion-sample", seeds=3)


def test_samples_that_name_their_clients() -> None:
    x, y = squares()
    owners = np.array(["b", "a", "a", "b"])[np.arange(200) // 50]
    found = run("local", (x, y, owners), Net, partition=None, clients=None, rounds=1)
    assert [sum(each.values()) for each in found.summary["samples_by_client"].values()] == [100] * 2


def test_a_hugging_face_data_set() -> None:
    library = pytest.importorskip("datasets", reason="datasets is not installed: edgeloop[hf]")
    from PIL import Image

    x, y = squares(60)
    rows = {"image": [Image.fromarray(each) for each in x], "label": y.tolist()}
    features = library.Features(
        {"image": library.Image(), "label": library.ClassLabel(names=["dark", "bright"])}
    )
    found = run("local", library.Dataset.from_dict(rows, features=features), Net, rounds=1)
    assert found.summary["config"]["data"].startswith("datasets-")
    whole = run("local", (x, y), Net, rounds=1)
    assert knowledge(found) == knowledge(whole)


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (3, ConfigError, "data: is int, which is none; give a path"),
        ((np.zeros((4, 2)), np.zeros(3)), DataError, "4 inputs for labels of shape"),
        ((np.zeros((4, 2)), np.array([0.5, 0, 1, 1])), DataError, "neither|something else than"),
        ([1, 2, 3, 4], ConfigError, "no pairs of input and label"),
        ({"x": [1], "y": [0]}, ConfigError, "data: is dict, which is none"),
        ((np.zeros((0, 2)), np.zeros(0)), DataError, "data: has no samples"),
        ((np.zeros((2, 2)), ["a", None]), DataError, "data: sample 1 has no label"),
        ((np.zeros((2, 2)), np.eye(2)), DataError, r"of one-hot rows, y\.argmax\(1\)"),
        ((np.full((2, 2), np.nan), [0, 1]), DataError, "data: sample 0 holds a value"),
        (DataLoader([(1, 2)]), ConfigError, r"give its dataset, loader\.dataset"),  # type: ignore[arg-type]
    ],
)
def test_data_that_are_none(data: Any, error: type[InputError], said: str) -> None:
    with pytest.raises(error, match=said):
        run("local", data, "mlp")


def test_an_own_model_is_the_model_weight_for_weight() -> None:
    models.give("own-net-test", Net)
    built = models.build("own-net-test", (3, 8, 8), 2, width=12, seed=3)
    from edgeloop.seeds import drawing

    with drawing(3):
        alone = Net((3, 8, 8), 2)
    inputs = torch.rand(5, 3, 8, 8)
    assert torch.equal(built(inputs)[1], alone(inputs))
    assert sum(each.numel() for each in built.own()) == sum(
        each.numel() for each in alone.parameters()
    )


def test_a_module_brings_its_weights() -> None:
    made = Net((3, 8, 8), 2)
    models.give("own-made", made)
    built = models.build("own-made", (3, 8, 8), 2, width=12, seed=3)
    inputs = torch.rand(5, 3, 8, 8)
    assert torch.equal(built(inputs)[1], made(inputs))
    with torch.no_grad():
        built.head.bias += 1
    assert not torch.equal(built(inputs)[1], made(inputs))  # it was copied


class Soft(Net):
    """It says how sure it is, and no logits."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).softmax(1)


class Needing(Net):
    """Nobody knows what it needs."""

    def __init__(self, temperature: float) -> None:
        super().__init__((3, 8, 8), 2)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Soft, "does not end in a linear layer"),
        (Needing, "needs temperature, which edgeloop does not know"),
        (lambda: Net((3, 8, 8), 7), "makes 7 logits, and the data have 2 classes"),
        (lambda: Net((1, 8, 8), 2), r"fails on an input of shape \(3, 8, 8\) \(RuntimeError"),
        (lambda: 3, "made int, and no nn.Module"),
        (lambda: [][0], r"cannot be made \(IndexError"),
        (3, "TypeError: it is no Architecture, no class of modules and no function"),
        ("nett", "neither a group nor an architecture"),
    ],
)
def test_a_model_that_is_none(model: Any, said: str) -> None:
    with pytest.raises((ModelError, ConfigError), match=said):
        run("local", squares(), model)


def test_a_second_network_of_the_same_name_is_another() -> None:
    """As in a notebook, whose cell is changed and run again."""

    def small() -> nn.Module:
        return Net((3, 8, 8), 2)

    first = run("fedavg", squares(), small, width=512)

    def again() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.ReLU(), nn.Linear(5, 2))

    again.__name__ = "small"
    second = run("fedavg", squares(), again, width=512)
    widths = [each.summary["config"]["width"] for each in (first, second)]
    assert widths == [12, 5]


def test_several_own_networks_are_shared_out() -> None:
    def wide(shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 40), nn.Linear(40, classes))

    found = run("fedproto", squares(), [Net, wide], width=8)
    kinds = list(found.summary["model_by_client"].values())
    assert [kind.rpartition(":")[2] for kind in kinds] == ["Net", "own-wide"]
    assert found.summary["config"]["width"] == 8


def test_own_workers_need_what_they_can_import() -> None:
    with pytest.raises(ConfigError, match=r"workers: are 2, and the architecture <lambda> cannot"):
        run("local", squares(), lambda: Net((3, 8, 8), 2), workers=2)


def halves(labels: NDArray[np.int64], partition: Partition, draw: Any) -> list[NDArray[np.int64]]:
    """Deal the samples in the order in which they lie."""
    return np.array_split(np.arange(len(labels)), partition.clients)


def test_an_own_partition_and_metric() -> None:
    def right(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        return float((scores.argmax(1) == labels).mean())

    found = run("fedavg", squares(), Net, partition=halves, metrics=[right], local_lr=0.1)
    assert [sum(each.values()) for each in found.summary["samples_by_client"].values()] == [100] * 2
    measured = found.summary["metrics_by_round"]["own-right"]
    assert measured == pytest.approx(found.summary["accuracy_by_round"])


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ([[0, 1]], "it made 1 shares for 2 clients"),
        ([[0, 1], [1, 2]], "it gave a sample to two clients"),
        ([[0], [999]], "samples that are not among the 200"),
        (None, "TypeError"),
    ],
)
def test_a_partition_that_is_none(shares: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"partition: own-lambda cannot be used .*{said}"):
        run("local", squares(), Net, partition=lambda labels, partition, draw: shares)


def test_optimiser_schedule_and_augmentation_act() -> None:
    plain = run("fedavg", squares(), Net, local_lr=0.1)
    said = run("fedavg", squares(), Net, local_lr=0.1, optimizer="sgd", schedule="constant")
    assert knowledge(plain) == knowledge(said)

    def stepped(parameters: Any, lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr)

    theirs = run("fedavg", squares(), Net, local_lr=0.1, optimizer=stepped)
    assert knowledge(plain) == knowledge(theirs)  # torch's SGD is ours, to the bit
    halved = run("fedavg", squares(), Net, local_lr=0.2, schedule=lambda number, rounds: 0.5)
    assert knowledge(plain) == knowledge(halved)
    same = run("fedavg", squares(), Net, local_lr=0.1, augment=lambda inputs: inputs)
    assert knowledge(plain) == knowledge(same)
    others = [
        run("fedavg", squares(), Net, local_lr=0.1, **changes)
        for changes in (
            {"optimizer": "sgd momentum=0.9"},
            {"optimizer": "adam"},
            {"schedule": "cosine"},
            {"schedule": "exponential 0.9"},
            {"augment": "flip"},
            {"augment": "flip+crop"},
        )
    ]
    assert len({knowledge(each) for each in (plain, *others)}) == 1 + len(others)
    again = run("fedavg", squares(), Net, local_lr=0.1, augment="flip+crop")
    assert knowledge(again) == knowledge(others[-1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"optimizer": torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)},
            "optimizer: is an instance of SGD, .*; give the class, optimizer=torch.optim.SGD, or a",
        ),
        ({"optimizer": 3}, "optimizer: is an instance of int, .*; give the class, optimizer=CLASS"),
        ({"optimizer": "adma"}, "optimizer: there is no 'adma'; did you mean adam"),
        ({"optimizer": "sgd momentun=1"}, "unexpected keyword argument 'momentun'"),
        ({"schedule": "cosin"}, "schedule: there is no 'cosin'; did you mean cosine"),
        ({"augment": "flop"}, "augment: there is no 'flop'"),
        ({"augment": lambda inputs: inputs[:1]}, "augment: makes .* of inputs of shape"),
        ({"schedule": lambda number, rounds: -1}, "a factor is finite and not below 0"),
        ({"metrics": ["f1"]}, "metrics: there is no 'f1'"),
        ({"local_lrr": 1.0}, "local_lrr: .*no such hyperparameter"),
        ({"roundz": 1}, "roundz: .*no such hyperparameter"),
        ({"optimizer": "adam", "cohort": "stacked"}, "cohort: has steps of its own"),
        ({"optimizer": "adam", "privacy": {"noise": 1.0}}, "privacy: has steps of its own"),
    ],
)
def test_what_there_is_not(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run("fedavg", squares(), Net, **changes)


def test_an_algorithm_with_steps_of_its_own_takes_no_optimiser() -> None:
    with pytest.raises(
        ConfigError, match="optimizer: the clients of fedkd take steps of their own"
    ):
        run("fedkd", squares(), Net, optimizer="adam", width=512)
    with pytest.raises(ConfigError, match="class-statistics trains none"):
        run("class-statistics", "fashion-sample", None, optimizer="adam", samples=200, width=512)


class Stubborn:
    """Another package's algorithm, whose clients take steps of their own without saying so."""

    from edgeloop.algorithms.local import INFO, Config  # the rest is Local's

    @staticmethod
    def build(config: Any) -> Any:
        from edgeloop.algorithms import local

        made = local.build(config)
        assert made.recipe is not None
        sent = made.recipe.upload
        return replace(
            made, recipe=None, train=lambda model, batches, broadcast: sent(model, batches, [])
        )


def test_an_algorithm_that_does_not_say_so_is_found() -> None:
    assert run(Stubborn, squares(), Net).algorithm.endswith(":Stubborn")
    with pytest.raises(ConfigError, match="optimizer: the algorithm's clients take steps of their"):
        run(Stubborn, squares(), Net, optimizer="adam")


def test_a_scenario_of_one_s_own(tmp_path: Path) -> None:
    table = edgeloop.Scenario(
        {
            "title": "two",
            "question": "Does it run?",
            "source": "nobody",
            "seeds": 1,
            "settings": {
                **{"data": "fashion-sample", "partition": "iid", "clients": 2, "samples": 100},
                **{"rounds": 1, "width": 16, "models": "cnn"},
            },
            "rows": [{"name": "FedAvg", "settings": {"algorithm": "fedavg"}}],
            "columns": [{"name": "fashion"}],
        }
    )
    assert list(table.cells()) == [("FedAvg", "fashion")]
    assert "fedtgp-table-1" in edgeloop.Scenario.names()
    found = table.run(tmp_path / "table", progress=False)
    runs = found["FedAvg", "fashion"]
    assert [each.summary["config"]["seed"] for each in runs] == [0]
    again = table.run(tmp_path / "table", progress=False)["FedAvg", "fashion"]
    assert [knowledge(each) for each in again] == [knowledge(each) for each in runs]


PROCESSES: set[int] = set()


def noted(inputs: Tensor) -> Tensor:
    PROCESSES.add(os.getpid())
    return inputs


HELD: set[bool] = set()


def watched(inputs: Tensor) -> Tensor:
    """Note whether another thread would have to wait."""

    def tries() -> None:
        free = ONE_AT_A_TIME.acquire(blocking=False)
        HELD.add(not free)
        if free:
            ONE_AT_A_TIME.release()

    other = threading.Thread(target=tries)
    other.start()
    other.join()
    return inputs


def small_table(augment: str) -> edgeloop.Scenario:
    """Return a table of one cell."""
    settings = {"data": "fashion-sample", "partition": "iid", "clients": 2, "samples": 100}
    return edgeloop.Scenario(
        {
            **{"title": "one", "question": "Where does it run?", "source": "nobody", "seeds": 1},
            "settings": {**settings, "rounds": 1, "width": 16, "augment": augment},
            "rows": [{"name": "FedAvg", "settings": {"algorithm": "fedavg"}}],
            "columns": [{"name": "fashion"}],
        }
    )


def test_a_scenario_runs_in_this_process(tmp_path: Path) -> None:
    """Or a script without a guarded main part would start itself again."""
    small_table(f"{__name__}:noted").run(tmp_path / "table", progress=False)
    assert {os.getpid()} == PROCESSES


def test_a_scenario_has_torch_as_it_begins(tmp_path: Path) -> None:
    """Whatever a notebook has set; and nobody else runs meanwhile."""
    threads = torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    try:
        with torch.inference_mode():
            found = small_table(f"{__name__}:watched").run(tmp_path / "table", progress=False)
        assert len(found["FedAvg", "fashion"]) == 1
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_num_threads() == 2
        assert {True} == HELD
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)


def test_a_generator() -> None:
    found = edgeloop.load_generator()
    assert found.synthesize(found.sample_latents(2, 0)).shape == (2, *found.shape)


def test_importing_edgeloop_is_light() -> None:
    heavy = ("torch", "pydantic", "numpy", "pandas", "matplotlib", "typer", "simulations")
    code = f"import sys, edgeloop; dir(edgeloop); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_errors_can_be_named_before_anything_is_called() -> None:
    code = "import edgeloop; print(edgeloop.errors.InputError.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "InputError"


def test_what_needs_an_extra_names_it() -> None:
    code = "import sys; sys.modules['torch'] = None; import edgeloop; edgeloop.simulate"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "edgeloop.simulate needs torch: pip install 'edgeloop[sim]'" in done.stderr
