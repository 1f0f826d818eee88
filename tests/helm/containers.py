"""Runs rendered pods as real containers, with podman: `python -m tests.helm.containers`.

The broker, the init container that writes Triton's models, and the pod of `helm test`, all with the
users, the read-only roots and the mounts that the chart gives them. There is no Triton: the round
asks the generator in process. Images are named by EDGELOOP_REGISTRY (localhost if not given) and
the chart's version; EDGELOOP_MOSQUITTO names one with a Mosquitto.
"""

import base64
import os
import subprocess
import sys
import tempfile
import uuid
from contextlib import ExitStack
from pathlib import Path

import yaml

from tests.helm import chart
from tests.helm.chart import NAMESPACE, RELEASE, Manifest, named
from tests.helm.release import Release

REGISTRY = os.environ.get("EDGELOOP_REGISTRY", "localhost")
MOSQUITTO = os.environ.get("EDGELOOP_MOSQUITTO", "docker.io/library/eclipse-mosquitto:2.0.22")
VERSION = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())["appVersion"]
SERVICE = f"{RELEASE}-edgeloop-broker.{NAMESPACE}.svc"
TRITON = f"triton://{RELEASE}-edgeloop-triton.{NAMESPACE}.svc:8001/"
COMPONENT = "app.kubernetes.io/component"
OURS = ("generator-service", "aggregator", "agent")
UNITS = {"Mi": "m", "Gi": "g"}


class RefusedError(Exception):
    """Podman has not done what it was asked."""


def podman(*arguments: str | Path) -> str:
    """Run podman; return what it prints.

    Raises:
        RefusedError: if it fails, with what it said last.
    """
    command = ["podman", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        said = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        raise RefusedError(f"podman {arguments[0]}: {said}")
    return done.stdout.strip()


def missing(images: list[str]) -> list[str]:
    """Return which of our images podman has not."""
    asked = [["podman", "image", "exists", each] for each in images]
    return [words[-1] for words in asked if subprocess.run(words, check=False).returncode != 0]


class Cluster:
    """A network and a folder for containers that end with the stack.

    Args:
        manifests: as helm made them.
        folder: for their volumes.
        stack: that removes them.
    """

    def __init__(self, manifests: list[Manifest], folder: Path, stack: ExitStack) -> None:
        self._manifests = manifests
        self._folder = folder
        self._stack = stack
        self._network = f"edgeloop-{uuid.uuid4().hex[:8]}"
        podman("network", "create", self._network)
        stack.callback(podman, "network", "rm", self._network)

    def _volume(self, pod: Manifest, volume: Manifest) -> Path:
        """Return a volume's folder: each pod has its own, also of one name."""
        place = self._folder / str(pod["metadata"]["labels"][COMPONENT]) / str(volume["name"])
        place.mkdir(exist_ok=True, parents=True)
        place.chmod(0o777)  # what fsGroup does in a cluster
        for kind, key in (("Secret", "secretName"), ("ConfigMap", "name")):
            source = volume.get(kind[0].lower() + kind[1:])
            if source is None:
                continue
            for name, value in named(self._manifests, kind, source[key])["data"].items():
                content = base64.b64decode(value) if kind == "Secret" else value.encode()
                (place / name).write_bytes(content.replace(TRITON.encode(), b""))
        return place

    def start(self, pod: Manifest, container: Manifest, image: str, alias: str = "") -> str:
        """Start a container of a pod; return its name."""
        name = f"{self._network}-{container['name']}"
        user = pod["spec"]["securityContext"]
        limits = container["resources"]["limits"]["memory"]
        options = ["--name", name, "--network", f"{self._network}{alias and f':alias={alias}'}"]
        options += ["--user", f"{user['runAsUser']}:{user['runAsGroup']}", "--cap-drop", "ALL"]
        options += ["--read-only", "--read-only-tmpfs=false", "--security-opt", "no-new-privileges"]
        options += ["--memory", limits[:-2] + UNITS[limits[-2:]]]
        for mount in container["volumeMounts"]:
            how = "ro" if mount.get("readOnly") else "rw"
            place = self._volume(pod, {"name": mount["name"], **_source(pod, mount["name"])})
            options += ["-v", f"{place}:{mount['mountPath']}:{how}"]
        for variable in container.get("env", []):
            options += ["-e", f"{variable['name']}={variable['value']}"]
        command = container.get("command", [])
        entry = ["--entrypoint", command[0]] if command else []
        podman("run", "-d", *options, *entry, image, *command[1:], *container.get("args", []))
        self._stack.callback(podman, "rm", "-f", "-t", "2", name)
        return name


def _source(pod: Manifest, name: str) -> Manifest:
    return next((each for each in pod["spec"]["volumes"] if each["name"] == name), {})


def ended(name: str) -> bool:
    """Wait for a container's end; tell whether it was a good one, and show what it said last."""
    code = podman("wait", name)
    command = ["podman", *("logs", "--tail", "3", name)]
    said = subprocess.run(command, capture_output=True, text=True)
    sys.stdout.write(f"{name}: exit code {code}\n{said.stdout}{said.stderr}")
    return code == "0"


def main() -> int:
    """Write the models, then run a round; print a verdict, and return 0 if both went well."""
    try:
        good = _play()
    except RefusedError as error:
        sys.stdout.write(f"{error}\n")
        good = False
    sys.stdout.write(f"verdict: {'good' if good else 'the pods do not run as containers here'}\n")
    return 0 if good else 1


def _play() -> bool:
    ours = [f"{REGISTRY}/edgeloop-{each}:{VERSION}" for each in OURS]
    if REGISTRY == "localhost" and (absent := missing(ours)):
        remedy = "run make images, or name a registry that has them: EDGELOOP_REGISTRY"
        raise RefusedError(f"there is no image {', '.join(absent)}; {remedy}")
    values = ("--set", f"image.registry={REGISTRY}")
    text = chart.helm("template", RELEASE, chart.CHART, "-n", NAMESPACE, *values)
    manifests = chart.parsed(text)
    manifests += Release(manifests, Path(), 0).certificates  # which a job makes in a cluster
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = Cluster(manifests, folder, stack)
        triton = named(manifests, "Deployment", "-triton")["spec"]["template"]
        (writer,) = triton["spec"]["initContainers"]
        good = ended(cluster.start(triton, writer, writer["image"]))
        good &= (folder / "triton" / "models" / "digits-synthesis" / "1" / "model.onnx").is_file()
        broker = named(manifests, "StatefulSet", "-broker")["spec"]["template"]
        cluster.start(broker, broker["spec"]["containers"][0], MOSQUITTO, SERVICE)
        test = named(manifests, "Pod", "-test-round")
        started = [cluster.start(test, each, each["image"]) for each in test["spec"]["containers"]]
        return all([good, *map(ended, started)])


if __name__ == "__main__":
    sys.exit(main())
