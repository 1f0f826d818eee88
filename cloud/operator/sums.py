"""What a FederatedTask with secure aggregation cannot ask for besides, as a sentence."""

from cloud.operator.spec import Task
from edgeloop import algorithms
from edgeloop.protocol.task import LEAST_IN_A_SUM


def wrong_sums(task: Task) -> str | None:
    """Return what is wrong with a task whose aggregator is to learn sums only.

    Whether an algorithm's options let its uploads be added, the aggregator finds before a round.
    """
    cohort, name = task.spec.cohort, task.spec.algorithm.name
    if not cohort.secure:
        return None
    single = {
        "robust": cohort.robust not in ("auto", "none"),
        "outliers": cohort.outliers == "refuse",
        "buffer": cohort.buffer is not None,
        "forgotten": bool(cohort.forgotten),
    }
    for field, is_asked in single.items():
        if is_asked:
            problem = f"cohort.{field}: needs single uploads, which cohort.secure hides"
            return f"{problem}; create another task without one of them"
    if task.spec.ingest is not None:
        return "ingest: takes whole uploads only; create another task without cohort.secure"
    if cohort.devices and not cohort.admit and len(cohort.devices) < LEAST_IN_A_SUM:
        problem = f"cohort.secure: needs {LEAST_IN_A_SUM} devices, and there are"
        return f"{problem} {len(cohort.devices)}; create another task with more"
    if name in algorithms.names():
        known = algorithms.info(name)
        if not (known.averages or known.base):
            problem = f"cohort.secure: {name} needs single uploads"
            return f"{problem}; create another task with one of " + ", ".join(
                algorithms.names_with("averages")
            )
    return None
