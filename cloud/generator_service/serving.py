"""Serves generators with Triton: `edgeloop generator serve`, `serve-files` and their like."""

import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from cloud.generator_service import repository, server
from cloud.generator_service.server import SECRET
from cloud.generator_service.settings import Backend, Serving
from edgeloop import generators
from edgeloop.cli import console
from edgeloop.generators import control, manifest
from edgeloop.generators.manifest import Manifest

Reference = Annotated[str, typer.Argument(help="digits, a name in the store, or a folder.")]
Name = Annotated[str | None, typer.Option(help="Name on the server. [default: the generator's]")]
Version = Annotated[int, typer.Option(min=1, help="Version to write, beside the existing ones.")]
Chosen = Annotated[
    Backend | None,
    typer.Option(
        help="Backend: onnxruntime where the server has it (NVIDIA's image), else python."
    ),
]
Instances = Annotated[int, typer.Option(min=1, help="Instances of each model.")]
Gpu = Annotated[bool, typer.Option("--gpu/--cpu", help="Device on which the models run.")]
Batch = Annotated[int, typer.Option(min=1, help="Largest batch, in images.")]
Delay = Annotated[
    int, typer.Option(min=0, help="Microseconds to wait for more requests of a batch.")
]
Threads = Annotated[int, typer.Option(min=1, help="Threads of one inference.")]
Arena = Annotated[bool, typer.Option(help="Keep freed memory, as large as the largest run was.")]
Pattern = Annotated[bool, typer.Option(help="Plan memory ahead, for each new batch size.")]
Cache = Annotated[bool, typer.Option(help="Answer repeated requests from the server's cache.")]
Versions = Annotated[
    int, typer.Option(min=1, help="Number of versions served at once, the newest.")
]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--control-secret-file",
        envvar=control.VARIABLE,
        help="File with the model-control secret. [default: in the repository]",
    ),
]


def serve(  # noqa: PLR0913 - an option each
    reference: Reference,
    folder: Annotated[
        Path | None,
        typer.Option("--repository", help="Folder for the models; kept. By default, not kept."),
    ] = None,
    name: Name = None,
    version: Version = 1,
    backend: Chosen = None,
    instances: Instances = 1,
    gpu: Gpu = False,
    max_batch_size: Batch = 64,
    delay_microseconds: Delay = 100,
    threads: Threads = 1,
    arena: Arena = True,
    memory_pattern: Pattern = False,
    cache: Cache = True,
    versions: Versions = 2,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    http_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port for HTTP health checks.")
    ] = 8000,
    grpc_port: Annotated[int, typer.Option(min=1, max=65535, help="Port for gRPC clients.")] = 8001,
    metrics_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port for Prometheus metrics.")
    ] = 8002,
    home: Annotated[
        Path | None,
        typer.Option(help="The tritonserver's folder; else $EDGELOOP_TRITON, else the cache's."),
    ] = None,
    log: Annotated[Path, typer.Option(help="Log file of the server.")] = Path("tritonserver.log"),
    secret_file: SecretFile = None,
) -> None:
    """Serve a generator that is on this machine, until Ctrl-C."""
    found = server.find_installation(home)
    serving = Serving(
        backend=backend or found.backend,
        instances=instances,
        gpu=gpu,
        max_batch_size=max_batch_size,
        delay_microseconds=delay_microseconds,
        threads=threads,
        arena=arena,
        memory_pattern=memory_pattern,
        cache=cache,
        versions=versions,
    )
    ports = server.Ports(http_port, grpc_port, metrics_port)
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            folder.chmod(0o755)  # the secret in it is for its user alone
        called, _ = _write(reference, folder, name, version, serving)
        secret = control.read_or_create_secret(secret_file or folder / SECRET)
        _warn_of_root(found.folder, folder)
        while True:
            with server.running(folder, found, ports, log, host=host, secret=secret) as process:
                console.say(f"ready: triton://{host}:{grpc_port}/{called}")
                _until_model_dies(process, log)
                process.kill()  # it would wait for answers that nobody gives
            console.note("a model's process has died; the server is started again")


def serve_files(  # noqa: PLR0913 - an option each
    reference: Reference,
    folder: Annotated[Path, typer.Argument(metavar="REPOSITORY", help="Model repository folder.")],
    name: Name = None,
    version: Version = 1,
    backend: Chosen = None,
    instances: Instances = 1,
    gpu: Gpu = False,
    max_batch_size: Batch = 64,
    delay_microseconds: Delay = 100,
    threads: Threads = 1,
    arena: Arena = True,
    memory_pattern: Pattern = False,
    cache: Cache = True,
    versions: Versions = 2,
    server: Annotated[
        str | None, typer.Option(help="HOST:PORT of a running server that should load it.")
    ] = None,
    secret_file: SecretFile = None,
) -> None:
    """Write a generator's models into a Triton model repository; the server runs elsewhere."""
    serving = Serving(
        backend=backend or "python",
        instances=instances,
        gpu=gpu,
        max_batch_size=max_batch_size,
        delay_microseconds=delay_microseconds,
        threads=threads,
        arena=arena,
        memory_pattern=memory_pattern,
        cache=cache,
        versions=versions,
    )
    called, described = _write(reference, folder, name, version, serving)
    if server is not None:
        from edgeloop.generators.triton import load_version  # only then must tritonclient be there

        kept = folder / SECRET
        secret = control.read_secret(secret_file or (kept if kept.is_file() else None))
        load_version(f"triton://{server}/{called}", version, described.identity, secret)


def remove_files(
    name: Annotated[str, typer.Argument(help="Name of the generator on the server.")],
    folder: Annotated[Path, typer.Argument(metavar="REPOSITORY", help="Model repository folder.")],
) -> None:
    """Remove a generator's models from a Triton model repository, all their versions."""
    removed = repository.remove(folder, name)
    console.say(f"removed: {', '.join(removed) or 'nothing'}")


def probe(
    reference: Annotated[str, typer.Argument(help="triton://HOST:PORT/NAME[?version=V].")],
    identity: Annotated[
        str | None, typer.Option(help="Expected SHA-256 identity, or its beginning.")
    ] = None,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a server that is unavailable.")
    ] = 0.0,
) -> None:
    """Have a served generator make one image; fail if it cannot, or is another one."""
    from cloud.generator_service import probe as probing  # only here must tritonclient be there

    found = probing.probe(reference, identity, patience_seconds=patience)
    console.say(
        f"ready: {found.identity}, version {found.version}, one image in {found.seconds:.2f} s"
    )


def _write(
    reference: str, folder: Path, name: str | None, version: int, serving: Serving
) -> tuple[str, Manifest]:
    """Write the models; return the generator's name on the server, and what it is."""
    source = generators.folder_of(reference)
    called = name or manifest.read(source).name
    described = repository.write(source, folder, called, version=version, serving=serving)
    console.say(f"written: {folder / called}-*, version {version}, identity {described.identity}")
    return called, described


def _warn_of_root(*folders: Path) -> None:
    if os.geteuid() == 0 and not server.unprivileged_user(*folders):
        places = " and ".join(map(str, folders))
        console.note(f"tritonserver runs as root, for user nobody cannot read {places}")


def _until_model_dies(process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when a model has died; fail if the server ends by itself."""
    while process.poll() is None:
        if server.has_dead_model(process):
            return
        time.sleep(1.0)  # between looks at the models' processes
    raise server.exit_error(log)
