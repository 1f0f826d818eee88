"""What is left of the honest devices' accuracy where some of the others forge their uploads.

`python -m benchmarks.attacks` runs every algorithm, attack, share of forgers and rule with three
seeds, on 10 clients of the embedded sample, and writes the table of docs/robustness.md.

Attacks, by the last clients of the federation:

- absent: none; they send nothing, which says what their own data is worth to the others;
- labels: they train on flipped labels, class c as class C - 1 - c;
- sign: they upload the numbers of an honest round with the opposite sign;
- scale: a thousand times those numbers;
- backdoor: they give class 0 what is class 1's and the other way round, three times as large: of
  prototypes the class's own, of a model the rows of its head.

Shape suffixes: N prototypes, P parameters, C classes, K features.
"""

import json
import os
import statistics
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any, get_args

import torch
import typer

from benchmarks import environment
from benchmarks.forged import forging
from edgeloop import algorithms, data, models, server_loop
from edgeloop.algorithm import Algorithm
from edgeloop.answers import Answer, Report
from edgeloop.cli import console
from edgeloop.client import Client
from edgeloop.cohorts.local import LocalCohort
from edgeloop.data import ClientData, Federation, Partition
from edgeloop.data.samples import Samples
from edgeloop.protocol.robust_rules import RobustRule

ALGORITHMS = ("fedproto", "fedtgp", "fedavg")
ATTACKS = ("absent", "labels", "sign", "scale", "backdoor")
BAD = (1, 2, 4)
"""Forgers of the clients: 10, 20 and 40 %."""
RULES: Sequence[RobustRule] = get_args(RobustRule)
CLIENTS, SAMPLES, ROUNDS, WIDTH, BATCH = 10, 2000, 10, 64, 20
LEARNING = {"local_lr": 0.05, "server_epochs": 20}
"""Of whichever hyperparameters an algorithm has: ten rounds are few."""
SHAPE = (28 * 28,)
MIXED = ("mlp", "mlp-200", "mlp-500")
"""Of clients that need not be alike."""
NOT_RUN = "-"

Forge = Callable[[Any], Any]


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        algorithm: its name.
        attack: of `ATTACKS`; empty for none.
        bad: clients that forge.
        rule: of the server.
        seed: of the run and of the partition.
    """

    algorithm: str
    attack: str
    bad: int
    rule: RobustRule
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What clients got right at the end, of how many test samples, in the order of their names."""

    correct: tuple[int, ...]
    samples: tuple[int, ...]

    def accuracy(self, clients: int) -> float:
        """Return the share of the first clients' test samples that they got right, in per cent."""
        return 100 * sum(self.correct[:clients]) / self.tested(clients)

    def tested(self, clients: int) -> int:
        """Return the first clients' test samples."""
        return sum(self.samples[:clients])


class Attacked:
    """A cohort of which some forge what they upload.

    Args:
        cohort: honest in what it does.
        bad: the names of those that forge.
        forge: makes an upload of an honest one; None for none.
    """

    def __init__(self, cohort: LocalCohort[Any, Any], bad: Collection[str], forge: Forge) -> None:
        self._cohort, self._bad, self._forge = cohort, bad, forge

    def ask(
        self, number: int, broadcast: Any, joining: Collection[str] | None = None
    ) -> Mapping[str, Answer[Any]]:
        """Return a round's answers, some of them forged."""
        answers = self._cohort.ask(number, broadcast, joining)
        return {
            name: replace(each, upload=self._forge(each.upload)) if name in self._bad else each
            for name, each in answers.items()
            if name not in self._bad or each.upload is not None  # else it has diverged itself
        }

    def finish(self, number: int, broadcast: Any) -> Mapping[str, Report]:
        """Have every client evaluate the last broadcast."""
        return self._cohort.finish(number, broadcast)


def run(case: Case) -> Outcome:
    """Run a case; return what its clients have at the end."""
    torch.set_num_threads(1)
    federation = samples(case.seed)
    algorithm = algorithm_of(case)
    kinds = ("mlp-200",) if algorithms.info(case.algorithm).same_architecture else MIXED
    names = [f"client-{number:02}" for number in range(CLIENTS)]
    bad = set(names[CLIENTS - case.bad :])
    cohort = LocalCohort(
        {
            name: client(case, algorithm, name, kinds[number % len(kinds)], federation, bad)
            for number, name in enumerate(names)
        }
    )
    victim = models.build(kinds[0], SHAPE, federation.classes, WIDTH, case.seed)
    forge = forging(case.attack, victim)
    _, reports = server_loop.run_rounds(
        algorithm,
        Attacked(cohort, bad, forge),
        ROUNDS,
        server_loop.initial_state(algorithm),
        lambda closed: None,
        rule=case.rule,
    )
    told = [reports[name] for name in names]
    return Outcome(
        tuple(each.test_correct for each in told), tuple(each.test_samples for each in told)
    )


@cache
def samples(seed: int) -> Federation:
    """Return the embedded sample, divided unevenly."""
    partition = Partition("dirichlet", clients=CLIENTS, alpha=1.0, samples=SAMPLES, seed=seed)
    return data.load("fashion-sample", partition)


def algorithm_of(case: Case) -> Algorithm[Any, Any, Any]:
    """Build a case's algorithm."""
    federation = samples(case.seed)
    facts = algorithms.supported_options(
        case.algorithm,
        classes=federation.classes,
        width=WIDTH,
        shape=SHAPE,
        architecture="mlp-200",
        seed=case.seed,
        **LEARNING,
    )
    return algorithms.load(case.algorithm, **facts)


def client(
    case: Case,
    algorithm: Algorithm[Any, Any, Any],
    name: str,
    kind: str,
    federation: Federation,
    bad: Collection[str],
) -> Client[Any, Any]:
    """Make one client, on flipped labels where it forges those."""
    held = federation.client(int(name.removeprefix("client-")))
    flips = case.attack == "labels" and name in bad
    labels = federation.classes - 1 - held.train.labels if flips else held.train.labels
    held = ClientData(
        Samples(held.train.inputs.reshape(-1, *SHAPE), labels),
        Samples(held.test.inputs.reshape(-1, *SHAPE), held.test.labels),
    )
    model = models.build(kind, SHAPE, federation.classes, WIDTH, case.seed)
    return Client(name, algorithm, model, held, batch_size=BATCH, seed=case.seed)


def cases(names: Sequence[str], rules: Sequence[RobustRule], seeds: int) -> list[Case]:
    """Return every run of the table; what matters most comes first.

    Where they are absent, a rule has nothing to do.
    """
    first = [rule for rule in rules if rule in ("none", "norm", "clip")]
    later = [rule for rule in rules if rule not in first]
    found: list[Case] = []
    for some, shares in ((first, (0, 2)), (first, (4, 1)), (later, (0, 2)), (later, (4, 1))):
        for bad, attack, rule, seed, name in product(
            shares, ("", *ATTACKS), some, range(seeds), names
        ):
            if bool(attack) == bool(bad) and (attack != "absent" or rule == "none"):
                found.append(Case(name, attack, bad, rule, seed))
    return found


def table(found: Mapping[Case, Outcome]) -> list[list[str]]:
    """Return a row for each algorithm, attack and share: each rule's mean and spread.

    Where nobody forges, the row is of the same clients as the rows of that share below it.
    """
    rules = [rule for rule in RULES if any(case.rule == rule for case in found)]
    seeds = sorted({case.seed for case in found})
    names = dict.fromkeys(case.algorithm for case in found)
    rows = []
    for name, bad, attack in product(names, BAD, ("", *ATTACKS)):
        forging = bad if attack else 0
        cases = {r: [Case(name, attack, forging, r, seed) for seed in seeds] for r in rules}
        told = [
            cell([found[c].accuracy(CLIENTS - bad) for c in some])
            if all(c in found for c in some)
            else NOT_RUN
            for some in cases.values()
        ]
        if set(told) != {NOT_RUN}:
            rows.append([name, f"{100 * bad // CLIENTS} %", attack or "none", *told])
    return rows


def cell(shares: Sequence[float]) -> str:
    """Return a mean and a standard deviation, in per cent."""
    spread = statistics.stdev(shares) if len(shares) > 1 else 0.0
    return f"{statistics.mean(shares):.1f} ± {spread:.1f}"


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each cell.")] = 3,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    algorithm: Annotated[list[str] | None, typer.Option(help="Only this; may be repeated.")] = None,
    rule: Annotated[list[str] | None, typer.Option(help="Only this; may be repeated.")] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Keep what is done in this file, and go on from it.")
    ] = None,
    run_all: Annotated[bool, typer.Option("--run/--no-run", help="Run what is left.")] = True,
) -> None:
    """Write the table of attacks and rules."""
    rules: Any = rule or RULES
    asked = cases(algorithm or ALGORITHMS, rules, seeds)
    found = {} if journal is None or not journal.exists() else kept(journal)
    left = [case for case in asked if case not in found] if run_all else []
    for case, outcome in zip(left, progress(left, workers), strict=True):
        found[case] = outcome
        if journal is not None:
            with journal.open("a") as file:
                file.write(json.dumps([asdict(case), asdict(outcome)]) + "\n")
    write({case: found[case] for case in asked if case in found}, rules, seeds)


def kept(journal: Path) -> dict[Case, Outcome]:
    """Return what a journal holds."""
    lines = (json.loads(line) for line in journal.read_text().splitlines())
    return {
        Case(**case): Outcome(tuple(outcome["correct"]), tuple(outcome["samples"]))
        for case, outcome in lines
    }


def write(found: Mapping[Case, Outcome], rules: Sequence[str], seeds: int) -> None:
    """Print the table, and write it with every run behind it."""
    columns = ["algorithm", "bad", "attack", *rules]
    rows = table(found)
    title = f"accuracy of the honest clients, per cent: mean and spread of {seeds} seeds"
    console.table(title, columns, rows)
    tested = {
        f"{100 * bad // CLIENTS} %": sorted({each.tested(CLIENTS - bad) for each in found.values()})
        for bad in BAD
    }
    content = {
        "machine": environment.machine(),
        "rounds": ROUNDS,
        "test_samples": tested,
        "runs": [{**asdict(case), **asdict(each)} for case, each in found.items()],
    }
    text = environment.markdown(columns, rows)
    environment.write("attacks", content, f"{title}\n\n{text}")
    environment.embed(environment.ROOT / "docs" / "robustness.md", "attacks", text)


def progress(asked: Sequence[Case], workers: int) -> Iterable[Outcome]:
    """Yield every case's outcome, in their order, and say how many are done."""
    with ProcessPoolExecutor(workers) as pool:
        for number, each in enumerate(pool.map(run, asked, chunksize=4), start=1):
            if number % 50 == 0:
                sys.stderr.write(f"{number} of {len(asked)}\n")
            yield each


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(environment.run(main, "python -m benchmarks.attacks"))
