"""What to do about a path that no reader knows, by what lies there."""

from collections.abc import Iterator
from pathlib import Path

from edgeloop.data.archives import members
from edgeloop.data.class_layout import image_files
from edgeloop.data.client_files import is_client_folder
from edgeloop.data.left_out import is_hidden

_PACKED = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
_FOREIGN = (
    *(".npy", ".pt", ".pth", ".pkl", ".pickle", ".mat", ".h5", ".hdf5", ".tfrecord", ".arff"),
    *(".xlsx", ".xls", ".feather", ".data", ".json"),
)
_OTHER_PHOTOS = (".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf")
_ARRAYS = "x and y, or x_train, y_train, x_test and y_test"
_DEEPEST = 2
_MOST = 1000  # files that are looked at


def remedy(source: Path) -> str | None:
    """Return what to do to have a file or a folder read; None where nothing tells."""
    files = list(_files(source))
    suffixes = {each.suffix.lower() for each in files}
    if source.is_dir() and (divided := _client_folders(source)):
        return f"name the folder of the clients' files: {', '.join(map(str, divided))}"
    if ".arrow" in suffixes:
        return f"write hf:{source} (pip install 'edgeloop[hf]')"
    if packed := [each for each in files if each.suffix.lower() in _PACKED]:
        return f"unpack {packed[0].name}, and name the folder"
    if npz := [each for each in files if each.suffix.lower() == ".npz"]:
        held = ", ".join(members(npz[0])[:6]) or "nothing that can be read"
        return f"call the arrays of one file {_ARRAYS}; {npz[0].name} has {held}"
    if any(each.name.startswith("data_batch_") for each in files):
        return "take the version for Python, cifar-10-batches-py"
    if any("-images" in each.name and "ubyte" in each.name for each in files):
        return "put the training images beside them: train-images-idx3-ubyte"
    if found := sorted(suffixes & set(_OTHER_PHOTOS)):
        return f"convert {', '.join(found)} to JPEG or PNG"
    if source.is_dir() and image_files(source):
        return (
            "put the images of each class into a folder with the class's name, or write a CSV of"
            " the file names and labels (file_name,label) beside the images"
        )
    if found := sorted(suffixes & set(_FOREIGN)):
        kinds = ", ".join(found)
        return f"read {kinds} in Python, and give edgeloop.simulate the arrays: docs/python.md"
    return None


def _client_folders(source: Path) -> list[Path]:
    """Return the folders within that have one file per client."""
    within = sorted(each for each in source.iterdir() if each.is_dir() and not is_hidden(each))
    return [each for each in within if is_client_folder(each)]


def _files(source: Path, depth: int = 0) -> Iterator[Path]:
    """Yield the file itself, or those of a folder and of the folders within."""
    if source.is_file():
        yield source
        return
    for each in sorted(source.iterdir())[:_MOST]:
        if is_hidden(each):
            continue
        if each.is_file():
            yield each
        elif each.is_dir() and depth < _DEEPEST:
            yield from _files(each, depth + 1)
