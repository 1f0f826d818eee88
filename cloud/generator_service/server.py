"""A tritonserver on this machine: finds what `tools/triton.sh` installed, and runs it."""

import contextlib
import os
import pwd
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cloud.generator_service.settings import Backend
from edgeloop.errors import GeneratorError
from edgeloop.generators import control
from edgeloop.runtime import atomic_files
from edgeloop.runtime import ports as local_ports
from edgeloop.runtime.child_processes import bound
from edgeloop.runtime.ports import listen_error

INSTALL = "run tools/triton.sh, or name a folder that it filled with --home or EDGELOOP_TRITON"
SECRET = ".control-secret"  # noqa: S105 - where it is
"""Of a server, in its repository, for its user alone."""

START_SECONDS = 120.0
"""A busy machine needs a minute for what an idle one does in two seconds."""

STOP_SECONDS = 5
"""That requests under way have to end in."""


@dataclass(frozen=True)
class TritonInstallation:
    """A folder with a tritonserver.

    Attributes:
        folder: that `tools/triton.sh` filled (the server in `vend`, its models' Python in `stub`,
            libpython in `lib`), or with `bin/tritonserver`, as in NVIDIA's image.
    """

    folder: Path

    @property
    def is_complete(self) -> bool:
        """Whether `tools/triton.sh` filled it, to the end."""
        return (self.folder / "installed").is_file()

    @property
    def _server(self) -> Path:
        return (
            self.folder / "vend" / "pytriton" / "tritonserver" if self.is_complete else self.folder
        )

    @property
    def program(self) -> Path:
        """The server."""
        return self._server / "bin" / "tritonserver"

    @property
    def backend(self) -> Backend:
        """The best one it has."""
        there = (self._server / "backends" / "onnxruntime").is_dir()
        return "onnxruntime" if there else "python"

    @property
    def options(self) -> list[str]:
        """Where the server finds its backends and its response cache."""
        return [
            f"--backend-directory={self._server / 'backends'}",
            f"--cache-directory={self._server / 'caches'}",
        ]

    @property
    def environment(self) -> dict[str, str]:
        """What the server finds its libraries by, and its models' Python: the first on PATH."""
        if not self.is_complete:
            return dict(os.environ)
        libraries = (self.folder / "vend" / "nvidia_pytriton.libs", self.folder / "lib")
        found = {
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
            "PATH": f"{self.folder / 'stub' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        return {**os.environ, **found}


@dataclass(frozen=True)
class Ports:
    """Of the loopback interface, or of the host that the server listens on."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002


def free_ports() -> Ports:
    """Return three ports of the loopback interface that nobody listens on."""
    return Ports(*local_ports.free_ports(3))


def find_installation(folder: Path | None = None) -> TritonInstallation:
    """Return the tritonserver of a folder, else of $EDGELOOP_TRITON, else of the user's cache.

    Raises:
        GeneratorError: if there is none.
    """
    given = folder or os.environ.get("EDGELOOP_TRITON")
    place = Path(given) if given else _cache() / "edgeloop" / "triton"
    found = TritonInstallation(place.absolute())
    if not found.program.is_file():
        raise GeneratorError("home", f"there is no tritonserver in {place}", INSTALL)
    return found


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or atomic_files.home() / ".cache")


def command(
    found: TritonInstallation, repository: Path, host: str, ports: Ports, memory: str, secret: str
) -> list[str]:
    """Return the command line: every model, taken up again when a client says so.

    Args:
        found: which server.
        repository: of its models.
        host: address to listen on.
        ports: to listen on.
        memory: how the names of the memory that it shares with its models begin.
        secret: of whoever may control it.
    """
    return [
        str(found.program),
        f"--model-repository={repository}",
        *found.options,
        *control.restriction_flags(secret),
        "--model-control-mode=explicit",
        "--load-model=*",
        "--disable-auto-complete-config",  # ours are complete; guessing starts a Python more
        "--cache-config=local,size=67108864",
        f"--backend-config=python,shm-region-prefix-name={memory}",
        f"--http-address={host}",
        f"--http-port={ports.http}",
        f"--grpc-address={host}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-address={host}",
        f"--metrics-port={ports.metrics}",
        "--allow-gpu-metrics=false",
        f"--exit-timeout-secs={STOP_SECONDS}",
    ]


@contextmanager
def running(
    repository: Path,
    found: TritonInstallation,
    ports: Ports,
    log: Path,
    *,
    host: str = "127.0.0.1",
    secret: str | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a tritonserver until the block ends; it is ready when the block begins.

    Args:
        repository: of its models.
        found: which one.
        ports: to listen on.
        log: file for what it says.
        host: address to listen on; the loopback interface by default.
        secret: of whoever may control it; by default nobody's.

    Yields:
        its process.

    Raises:
        GeneratorError: if a port is taken, or it dies or is not ready in time, with the end of
            its log.
    """
    _check_free(host, ports)
    memory = f"edgeloop_{secrets.token_hex(8)}_"
    line = command(found, repository, host, ports, memory, secret or secrets.token_hex(32))
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the program that tools/triton.sh installed
            # Killed with us: an orphan would keep the ports.
            bound(line, signal.SIGKILL, unprivileged_user(found.folder, repository)),
            env=found.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C is for us; we stop the server
        )
    try:
        _wait(process, f"http://{_reachable(host)}:{ports.http}/v2/health/ready", log)
        yield process
    finally:
        _stop(process)
        for left in Path("/dev/shm").glob(f"{memory}*"):  # noqa: S108 - where it puts them
            left.unlink()  # by a server that was killed


def unprivileged_user(*folders: Path) -> str:
    """Return who a server should be instead of root, UID:GID; nothing where that is not possible.

    Args:
        folders: that nobody must be able to read, all but files that are root's alone on purpose.
    """
    if os.geteuid() != 0:
        return ""
    with contextlib.suppress(KeyError, OSError):
        nobody = pwd.getpwnam("nobody")
        line = ["find", *map(str, folders), "!", "-readable", "!", "-name", SECRET, "-print"]
        looked = subprocess.run(  # noqa: S603 - the system's
            [*line, "-quit"],
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            capture_output=True,
        )
        if looked.returncode == 0 and not looked.stdout:
            return f"{nobody.pw_uid}:{nobody.pw_gid}"
    return ""


def _check_free(host: str, ports: Ports) -> None:
    """Refuse a port that somebody listens on: their answers would pass for our server's."""
    for name, port in asdict(ports).items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                problem = f"{host}:{port} cannot be listened on ({error.strerror})"
                raise listen_error(f"--{name}-port", problem, "give another one", error) from error


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Tell a server to stop, and wait until it and its models' processes have."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS + 15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def model_processes(process: int) -> list[int]:
    """Return the processes of a server's models; none for backends that need none."""
    found: list[int] = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            found += map(int, path.read_text(encoding="ascii").split())
    return found


def has_dead_model(process: subprocess.Popen[bytes]) -> bool:
    """Whether a model's process has died; the server continues, and answers nothing for it."""
    return any(_dead(child) for child in model_processes(process.pid))


def _dead(process: int) -> bool:
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return fields.rpartition(")")[2].split()[0] == "Z"


def exit_error(log: Path) -> GeneratorError:
    """Return the error of a server that has stopped by itself."""
    return GeneratorError("tritonserver", f"has stopped: {_last(log)}", f"see {log}")


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise exit_error(log)
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(address, timeout=5.0).close()  # noqa: S310 - ours, http
            return
        time.sleep(0.05)  # between looks at a server that is starting
    problem = f"is not ready after {START_SECONDS:.0f} s: {_last(log)}"
    raise GeneratorError("tritonserver", problem, f"see {log}")


def _reachable(host: str) -> str:
    """Return an address that this machine reaches a server by that listens on all of its own."""
    return "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared, not bound


def _last(log: Path) -> str:
    """Return the errors in a log, else its last lines."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("E") and "CudaDriverHelper" not in line]
    return " / ".join(line[:300] for line in (errors or lines)[-3:])
