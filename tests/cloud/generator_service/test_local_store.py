"""A local store whose entries two commands write at once."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from cloud.generator_service.local_store import LocalStore
from edgeloop.errors import BaseError


@pytest.mark.parametrize("replace", [False, True])
def test_what_another_command_has_just_placed_goes_only_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    store, check = LocalStore("base", lambda: tmp_path, BaseError), LocalStore.check_free
    entry = tmp_path / "eyes" / "who"

    def quicker(self: LocalStore, name: str, *, replace: bool = False) -> None:
        check(self, name, replace=replace)
        looks.append(name)
        if len(looks) == 2:  # the last one before it is placed
            entry.parent.mkdir()
            entry.write_text("the other one")

    looks: list[str] = []
    monkeypatch.setattr(LocalStore, "check_free", quicker)
    refused = pytest.raises(BaseError, match="is in the local store already")
    with nullcontext() if replace else refused, store.new("eyes", replace=replace) as folder:
        (folder / "who").write_text("this one")
    assert entry.read_text() == ("this one" if replace else "the other one")
    assert [each.name for each in tmp_path.iterdir()] == ["eyes"]
