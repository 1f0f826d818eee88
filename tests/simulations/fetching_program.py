"""Fetches small data sets where torchvision is: `test_fetching.py` runs it there.

A web server on this machine stands in for the publishers: torchvision's addresses and checksums
are changed to those of hand-made files, and all else is what a user gets. It writes one JSON
object.
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile
import tempfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from torchvision import datasets

from edgeloop.data import read
from edgeloop.data.catalogue import find
from edgeloop.errors import EdgeloopError
from simulations.datasets.fetching import fetch
from tests.data import layouts


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def packed(folder: Path, path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)


def mnist(site: Path, address: str) -> None:
    for name, kind in (("mnist", datasets.MNIST), ("fashion", datasets.FashionMNIST)):
        layouts.idx_pair(site / name, "train", [1, 2, 3], [0, 2, 1], packed=True)
        layouts.idx_pair(site / name, "t10k", [4, 5], [2, 0], packed=True)
        kind.mirrors = [f"{address}/nowhere/", f"{address}/{name}/"]
        kind.resources = [(f, md5(site / name / f)) for f, _ in kind.resources]


def emnist(site: Path, address: str) -> None:
    for split in datasets.EMNIST.splits:
        for part, value in (("train", 1), ("test", 2)):
            layouts.idx_pair(site / "gzip", f"emnist-{split}-{part}", [value], [1], packed=True)
    with zipfile.ZipFile(site / "gzip.zip", "w") as archive:
        for path in sorted((site / "gzip").iterdir()):
            archive.write(path, f"gzip/{path.name}")
    datasets.EMNIST.url, datasets.EMNIST.md5 = f"{address}/gzip.zip", md5(site / "gzip.zip")


def cifar(site: Path, address: str) -> None:
    for kind, write in ((datasets.CIFAR10, layouts.cifar10), (datasets.CIFAR100, layouts.cifar100)):
        folder = site / kind.base_folder
        write(folder)
        packed(folder, site / kind.filename)
        kind.url, kind.tgz_md5 = f"{address}/{kind.filename}", md5(site / kind.filename)
        kind.train_list = [[name, md5(folder / name)] for name, _ in kind.train_list]
        kind.test_list = [[name, md5(folder / name)] for name, _ in kind.test_list]
        kind.meta = {**kind.meta, "md5": md5(folder / kind.meta["filename"])}


def flowers(site: Path, address: str) -> None:
    layouts.flowers(site / "flowers")
    packed(site / "flowers" / "jpg", site / "flowers" / "102flowers.tgz")
    kind = datasets.Flowers102
    kind._download_url_prefix = f"{address}/flowers/"
    kind._file_dict = {
        name: (file, md5(site / "flowers" / file)) for name, (file, _) in kind._file_dict.items()
    }


def looked_at(name: str, folder: Path) -> dict[str, Any]:
    said: list[str] = []
    fetch(find(name), folder, said.append)
    pool = read(folder)
    files = sorted(path.name for path in folder.rglob("*") if path.is_file())
    first = pool.inputs[:, 0, 0, 0].tolist()
    return {
        **{"labels": pool.labels.tolist(), "first": first, "said": said},
        **{"shape": list(pool.shape), "files": files},
    }


def refusal(name: str, folder: Path) -> str:
    try:
        fetch(find(name), folder, lambda _: None)
    except EdgeloopError as error:
        return str(error)
    return "no error"


def refusals(work: Path, address: str) -> dict[str, Any]:
    """Break what the sites give, and see what is said and what is left."""
    datasets.MNIST.resources = [(file, "0" * 32) for file, _ in datasets.MNIST.resources]
    datasets.CIFAR10.url = f"{address}/nowhere.tar.gz"
    datasets.EMNIST.url = "http://127.0.0.1:9/gzip.zip"
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb") as file:
        file.write(b"no archive")
    broken = work / "site" / datasets.CIFAR100.filename
    broken.write_bytes(content.getvalue())
    datasets.CIFAR100.tgz_md5 = md5(broken)
    names = {"checksum": "mnist", "absent": "cifar10", "network": "emnist-mnist"}
    names["archive"] = "cifar100"
    found: dict[str, Any] = {
        kind: refusal(name, work / "broken" / kind) for kind, name in names.items()
    }
    return {**found, "left": sorted(path.name for path in (work / "broken").rglob("*"))}


def main(work: Path) -> None:
    site = work / "site"
    site.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for publish in (mnist, emnist, cifar, flowers):
        publish(site, address)
    names = ("mnist", "fashion-mnist", "emnist-letters", "cifar10", "cifar100", "flowers102")
    found: dict[str, Any] = {name: looked_at(name, work / "got" / name) for name in names}
    found["refusals"] = refusals(work, address)
    server.shutdown()
    server.server_close()
    sys.stdout.write("\n" + json.dumps(found))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
