"""Tiny-ImageNet's own folder."""

from pathlib import Path

import pytest

from edgeloop.data import layout_of, read
from tests.data.layouts import picture, place

CAT, DOG = "n02123045", "n02084071"


def tiny(folder: Path) -> None:
    for value, (wnid, number) in enumerate([(CAT, 1), (CAT, 0), (DOG, 0)]):
        place(folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", picture(20 * value))
        place(folder / "train" / wnid / f"{wnid}_boxes.txt", b"0 0 1 1")
    place(folder / "val" / "images" / "val_0.JPEG", picture(200))
    place(folder / "val" / "val_annotations.txt", b"val_0.JPEG\tn1\n")


@pytest.mark.parametrize("inside", ["tiny-imagenet-200", "."])
def test_only_the_training_part_is_read(tmp_path: Path, inside: str) -> None:
    tiny(tmp_path / inside)
    pool = read(tmp_path)
    assert layout_of(tmp_path).layout == "Tiny-ImageNet"
    assert pool.inputs.shape == (3, 3, 4, 4)
    assert pool.inputs[:, 0, 0, 0].tolist() == [40, 20, 0]
    assert pool.labels.tolist() == [0, 1, 1]
    assert pool.class_names == (DOG, CAT)


def test_words_name_the_classes_where_they_tell_them_apart(tmp_path: Path) -> None:
    tiny(tmp_path)
    words = tmp_path / "words.txt"
    words.write_text(f"{CAT}\ttabby, tabby cat\n{DOG}\tdog, domestic dog\nn1\tx\n")
    assert read(tmp_path).class_names == ("dog", "tabby")
    words.write_text(f"{CAT}\tcrane\n{DOG}\tcrane, bird\n")
    assert read(tmp_path).class_names == (DOG, CAT)


def test_images_can_be_resized(tmp_path: Path) -> None:
    tiny(tmp_path)
    assert read(tmp_path, 7).shape == (3, 7, 7)
