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
from cloud.generator_service.server import SECRET, TritonInstallation
from cloud.generator_service.settings import ServedModels, ServerSettings
from edgeloop import generators
from edgeloop.cli import console, options
from edgeloop.generators import control, manifest
from edgeloop.generators.manifest import Manifest

Reference = Annotated[str, typer.Argument(help="digits, a name in the store, or a folder.")]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--control-secret-file",
        envvar=control.VARIABLE,
        help="File with the model-control secret. [default: in the repository]",
    ),
]


@options.of(ServerSettings, "generator serve", ranges=True)
def serve(settings: ServerSettings, reference: Reference, secret_file: SecretFile = None) -> None:
    """Serve a generator that is on this machine, until Ctrl-C."""
    found = server.find_installation(settings.home)
    if "backend" not in settings.model_fields_set:
        settings = settings.model_copy(update={"backend": found.backend})
    with console.serving(), ExitStack() as stack:
        folder = settings.repository
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            folder.chmod(0o755)  # the secret in it is for its user alone
        name, _ = _write(reference, folder, settings)
        secret = control.read_or_create_secret(secret_file or folder / SECRET)
        _warn_of_root(found.folder, folder)
        _serve_until_stopped(settings, found, folder, name, secret)


def _serve_until_stopped(
    settings: ServerSettings, found: TritonInstallation, folder: Path, name: str, secret: str
) -> None:
    """Run the server; start it again when a model's process has died."""
    ports = server.Ports(settings.http_port, settings.grpc_port, settings.metrics_port)
    host, log = settings.host, settings.log
    while True:
        with server.running(folder, found, ports, log, host=host, secret=secret) as process:
            console.say(f"ready: triton://{host}:{ports.grpc}/{name}")
            _until_model_dies(process, log)
            process.kill()  # it would wait for answers that nobody gives
        console.note("a model's process has died; the server is started again")


@options.of(ServedModels, "generator serve-files", ranges=True)
def serve_files(
    settings: ServedModels,
    reference: Reference,
    folder: Annotated[Path, typer.Argument(metavar="REPOSITORY", help="Model repository folder.")],
    server: Annotated[
        str | None, typer.Option(help="HOST:PORT of a running server that should load it.")
    ] = None,
    secret_file: SecretFile = None,
) -> None:
    """Write a generator's models into a Triton model repository; the server runs elsewhere."""
    name, described = _write(reference, folder, settings)
    if server is not None:
        from edgeloop.generators.triton import load_version  # only then must tritonclient be there

        kept = folder / SECRET
        secret = control.read_secret(secret_file or (kept if kept.is_file() else None))
        load_version(f"triton://{server}/{name}", settings.version, described.identity, secret)


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
    """Let a served generator make one image; fail if it cannot, or is not the expected one."""
    from cloud.generator_service import probe as probing  # only here must tritonclient be there

    found = probing.probe(reference, identity, patience_seconds=patience)
    console.say(
        f"ready: {found.identity}, version {found.version}, one image in {found.seconds:.2f} s"
    )


def _write(reference: str, folder: Path, settings: ServedModels) -> tuple[str, Manifest]:
    """Write the models; return the generator's name on the server, and what it is."""
    source, version = generators.folder_of(reference), settings.version
    name = settings.name or manifest.read(source).name
    described = repository.write(source, folder, name, version=version, serving=settings)
    console.say(f"written: {folder / name}-*, version {version}, identity {described.identity}")
    return name, described


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
