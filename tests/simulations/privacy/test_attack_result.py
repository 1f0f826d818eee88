from pathlib import Path

import pytest
import torch
from torch import Tensor

from edgeloop.algorithm_info import UploadKind
from edgeloop.errors import RunError
from simulations.privacy import attack_result
from simulations.privacy.attack_result import measure_attack
from simulations.privacy.inversion import Reconstruction
from simulations.privacy.similarity import as_inputs
from simulations.privacy.victims import Victims


def grey(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()


def outcome(pixels: Tensor, labels: list[int]) -> Reconstruction:
    return Reconstruction(pixels, grey(*[1.0] * len(pixels)), torch.tensor(labels), 0.25, 7)


VICTIMS = Victims(
    as_inputs(grey(0.2, 0.8)),
    torch.tensor([0, 1]),
    as_inputs(grey(0.4, 0.6, 0.7)),
    torch.tensor([0, 0, 1]),
)


def test_weights_by_hand() -> None:
    found = measure_attack(VICTIMS, outcome(grey(0.72, 0.21), [1, 1]), UploadKind("whole"), 1.5)
    # 0.21 is of 0.2 (40 dB), 0.72 of 0.8 (21.94 dB), though 0.7 is nearer to that
    assert found.facts["psnr"] == pytest.approx((40 + 21.9382) / 2, abs=1e-3)
    assert found.originals.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.8, 0.2])
    assert found.facts["identified"] == 0.5
    assert found.facts["identified_by_chance"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert found.facts["labels"] == 0.5
    # the class of 0.2 has 0.4 and 0.6 beside it: 13.98 and 7.96 dB; that of 0.8 has 0.7: 20 dB
    assert found.facts["psnr_others"] == pytest.approx((10.9691 + 20) / 2, abs=1e-3)
    assert found.facts["psnr_class_mean"] == pytest.approx((10.4576 + 20) / 2, abs=1e-3)
    assert found.facts["psnr_start"] == pytest.approx((1.9382 + 13.9794) / 2, abs=1e-3)
    assert (found.facts["distance"], found.facts["evaluations"]) == (0.25, 7)


def test_a_prototype_counts_as_the_nearest_of_its_images() -> None:
    victims = Victims(VICTIMS.inputs, torch.tensor([0, 0]), VICTIMS.others, torch.tensor([0, 1, 1]))
    found = measure_attack(victims, outcome(grey(0.79), [0]), UploadKind("features"), 1.0)
    assert found.facts["psnr"] == pytest.approx(40, abs=1e-3)
    assert found.facts["identified"] == 1.0
    assert found.facts["identified_by_chance"] == pytest.approx(2 / 3)
    assert found.facts["psnr_others"] == pytest.approx(13.9794, abs=1e-3)  # 0.4, nearest 0.2
    assert found.facts["psnr_start"] == pytest.approx(13.9794, abs=1e-3)
    assert len(found.originals) == 1


def test_a_case_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = measure_attack(VICTIMS, outcome(grey(0.72, 0.21), [0, 1]), UploadKind("whole"), 1.5)
    attack_result.write(tmp_path / "one", found)
    again = attack_result.read(tmp_path / "one")
    assert again.facts == found.facts
    assert torch.equal(again.originals, found.originals)
    assert torch.equal(again.reconstructions, grey(0.72, 0.21))


def test_a_damaged_case_is_told(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"half of")
    with pytest.raises(RunError, match=r"cannot be read .*; remove it"):
        attack_result.read(tmp_path / "one")
