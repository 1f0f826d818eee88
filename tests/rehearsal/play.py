"""What is rehearsed: install, a task with a device inside and one outside, faults, an upgrade."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from tests.helm.chart import CHART

NAMESPACE = "rehearsal"
RELEASE, TASK, ROUNDS = "edgeloop", "two-devices", 8
INSIDE, OUTSIDE = "inside", "outside"
CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
EDGELOOP = str(Path(sys.executable).with_name("edgeloop"))

FILES = {"ca_file": "ca.crt", "certificate_file": "tls.crt", "key_file": "tls.key"}

Object = dict[str, Any]


def task() -> Object:
    """Return the task: two devices, and a round that one of them can close."""
    return {
        "apiVersion": "edgeloop.io/v1alpha1",
        "kind": "FederatedTask",
        "metadata": {"name": TASK},
        "spec": {
            "algorithm": {"name": "fedproto", "hyperparameters": {"local_lr": 0.01}},
            "data": {"classNames": list(CLASSES), "shape": [1, 28, 28]},
            "cohort": {"devices": [INSIDE, OUTSIDE], "quorum": 1, "deadlineSeconds": 60},
            "rounds": ROUNDS,
            "width": 16,
        },
    }


def device(name: str, client: int, folder: str, broker: Object) -> Object:
    """Return a device's file."""
    shares = {"partition": "iid", "clients": 20, "client": client}
    return {
        "name": name,
        "task": f"{NAMESPACE}.{TASK}",
        "folder": folder,
        "broker": broker,
        "data": {"source": "fashion-sample", **shares},
        "training": {"architecture": "cnn", "threads": 1},
    }


def inside(image: str) -> list[Object]:
    """Return the pod of the device inside, with its file."""
    tls = "/etc/edgeloop/tls"
    broker = {
        "host": f"{RELEASE}-broker.{NAMESPACE}.svc",
        "port": 8883,
        **{key: f"{tls}/{name}" for key, name in FILES.items()},
    }
    config = tomli_w.dumps(device(INSIDE, 0, "/state", broker))
    labels = {
        "app.kubernetes.io/name": "edgeloop",
        "app.kubernetes.io/instance": RELEASE,
        "app.kubernetes.io/component": "agent",
    }
    places = {"config": "/etc/edgeloop/device", "tls": tls, "state": "/state", "tmp": "/tmp"}  # noqa: S108
    container = {
        "name": "agent",
        "image": image,
        "args": ["agent", "--config", "/etc/edgeloop/device/device.toml"],
        "volumeMounts": [{"name": name, "mountPath": place} for name, place in places.items()],
    }
    volumes = [
        {"name": "config", "configMap": {"name": "device-inside"}},
        {"name": "tls", "secret": {"secretName": f"{RELEASE}-device-{INSIDE}-tls"}},
        {"name": "state", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]
    user = {"runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001, "runAsNonRoot": True}
    spec = {"containers": [container], "volumes": volumes, "securityContext": user}
    named = {"name": "device-inside", "labels": labels}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": named,
            "data": {"device.toml": config},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": named, "spec": spec},
    ]


@dataclass
class Verdict:
    """What a rehearsal has come to: each step, and how it went."""

    steps: list[tuple[str, str | None, float]] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether all steps went well."""
        return all(problem is None for _, problem, _ in self.steps)

    def lines(self) -> Iterator[str]:
        """Yield a line for each step, and one for all."""
        for step, problem, seconds in self.steps:
            yield f"{'ok    ' if problem is None else 'FAILED'} {seconds:6.1f} s  {step}" + (
                f": {problem}" if problem else ""
            )
        yield "verdict: good" if self.good else "verdict: it does not run on this cluster"


class Play:
    """A rehearsal on a cluster.

    Args:
        environment: for kubectl and helm.
        registry: that has our images; "" for images that the cluster knows.
    """

    def __init__(self, environment: dict[str, str], registry: str) -> None:
        self._environment, self._registry = environment, registry
        self.verdict = Verdict()

    def run(self) -> Verdict:
        """Play all steps; after one that fails only what takes everything away again."""
        steps: list[tuple[str, Callable[[ExitStack], object]]] = [
            ("helm install", lambda _: self._helm("install", "--create-namespace")),
            ("a task and a device inside begin", lambda _: self._begin()),
            ("a device outside joins", self._join),
            ("the first round closes", lambda _: self._round(1)),
            ("pods are killed in mid-round", lambda _: self._kill()),
            ("rounds go on", lambda _: self._round(3)),
            ("helm upgrade", lambda _: self._helm("upgrade", "--set=operator.logLevel=debug")),
            ("the task is complete", lambda _: self._complete()),
            ("the task is deleted within two minutes", lambda _: self._delete()),
        ]
        with ExitStack() as stack:
            for words, step in steps:
                if not self._played(words, lambda step=step: step(stack)):  # type: ignore[misc]
                    break
        self._played("helm uninstall", lambda: self._uninstall())
        return self.verdict

    def _played(self, words: str, step: Callable[[], object]) -> bool:
        begun, problem = time.monotonic(), None
        try:
            step()
        except subprocess.CalledProcessError as error:
            problem = str(error.stderr or error)[-500:].strip()
        except subprocess.TimeoutExpired as error:
            problem = f"took more than {error.timeout:.0f} s"
        self.verdict.steps.append((words, problem, time.monotonic() - begun))
        return problem is None

    def _helm(self, what: str, *flags: str) -> None:
        registry = [f"--set=image.registry={self._registry}"] if self._registry else []
        values = (
            "--set=triton.enabled=false,tests.enabled=false",
            f"--set=tls.devices={{{INSIDE},{OUTSIDE}}}",
            "--set=tls.extraNames={localhost}",
        )
        waits = ("--wait", "--timeout=10m")
        self._call("helm", what, RELEASE, CHART, *registry, *values, *flags, *waits, seconds=700)

    def _uninstall(self) -> None:
        self._call("helm", "uninstall", RELEASE, "--wait", seconds=300)
        self._call("kubectl", "delete", "namespace", NAMESPACE, "--timeout=180s", seconds=200)

    def _begin(self) -> None:
        prefix = f"{self._registry.rstrip('/')}/" if self._registry else ""
        about = self._call("helm", "get", "metadata", RELEASE, "-o", "json")
        version = json.loads(about)["appVersion"]
        for each in [task(), *inside(f"{prefix}edgeloop-agent:{version}")]:
            self._call("kubectl", "apply", "-f", "-", text=json.dumps(each))
        self._waited("--for=condition=Ready", f"ft/{TASK}", "--timeout=300s")

    def _join(self, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker: Object = {"host": "localhost", "port": 18883}
        for key, name in FILES.items():
            wanted = f'go-template={{{{index .data "{name}" | base64decode}}}}'
            secret = f"{RELEASE}-device-{OUTSIDE}-tls"
            (folder / name).write_text(self._call("kubectl", "get", "secret", secret, "-o", wanted))
            broker[key] = str(folder / name)
        (folder / "device.toml").write_text(
            tomli_w.dumps(device(OUTSIDE, 1, str(folder / "state"), broker))
        )
        forward = f"kubectl -n {NAMESPACE} port-forward svc/{RELEASE}-broker 18883:8883"
        loop = ["sh", "-c", f"while :; do {forward}; sleep 1; done"]  # a killed broker ends it
        for command in (loop, [EDGELOOP, "agent", "--config", str(folder / "device.toml")]):
            process = subprocess.Popen(command, env=self._environment)
            stack.callback(process.wait)
            stack.callback(process.terminate)

    def _round(self, number: int) -> None:
        deadline = time.monotonic() + 300
        while int(self._status("round") or 0) < number:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("round", 300)
            time.sleep(1)

    def _kill(self) -> None:
        for component in ("aggregator", "broker", "operator"):
            label = f"app.kubernetes.io/component={component}"
            at_once = ("--wait=false", "--grace-period=0", "--force")
            self._call("kubectl", "delete", "pod", "-l", label, *at_once)

    def _complete(self) -> None:
        self._waited("--for=condition=Complete", f"ft/{TASK}", "--timeout=600s")

    def _delete(self) -> None:
        self._call("kubectl", "delete", f"ft/{TASK}", "--timeout=120s", seconds=130)

    def _status(self, name: str) -> str:
        wanted = f"jsonpath={{.status.{name}}}"
        return self._call("kubectl", "get", f"ft/{TASK}", "-o", wanted)

    def _waited(self, *flags: str) -> None:
        self._call("kubectl", "wait", *flags, seconds=700)

    def _call(
        self, program: str, *arguments: str | Path, text: str = "", seconds: float = 60
    ) -> str:
        command = [program, "-n", NAMESPACE, *map(str, arguments)]
        done = subprocess.run(
            command,
            input=text,
            env=self._environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        return done.stdout
