"""What the changelog of 0.1.0 names as modules to import is still there, with a warning."""

from importlib import import_module

import pytest


@pytest.mark.parametrize(
    ("old", "name"),
    [
        ("edgeloop.contrastive", "contrastive_loss"),
        ("edgeloop.trainable", "global_prototypes"),
    ],
)
def test_an_old_name_gives_the_new_modules_own(old: str, name: str) -> None:
    module = import_module(old)
    with pytest.warns(DeprecationWarning, match=f"{old} is edgeloop.knowledge.* now"):
        found = getattr(module, name)
    assert found.__module__.startswith("edgeloop.knowledge.")
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = module.nothing_of_that_name
