import pytest
import torch

from edgeloop.privacy import noise


def test_the_same_key_gives_the_same_numbers_and_no_other_does() -> None:
    first = noise.normal(b"key", "step 1", 1001)
    assert first.dtype == torch.float32
    assert torch.equal(first, noise.normal(b"key", "step 1", 1001))
    assert not torch.equal(first, noise.normal(b"kez", "step 1", 1001))
    assert not torch.equal(first, noise.normal(b"key", "step 2", 1001))


def test_they_are_standard_normal() -> None:
    drawn = noise.normal(b"key", "any", 400_000).double()
    moments = [float((drawn**power).mean()) for power in (1, 2, 3, 4)]
    assert moments == pytest.approx([0, 1, 0, 3], abs=0.03)
    shares = [float((drawn < point).double().mean()) for point in (-2.0, -1.0, 0.0, 3.0)]
    assert shares == pytest.approx([0.02275, 0.15866, 0.5, 0.99865], abs=0.003)
    halves = torch.stack(drawn.split(200_000))  # the two of a pair have nothing to do with another
    assert abs(float(torch.corrcoef(halves)[0, 1])) < 0.01


def test_they_are_even() -> None:
    drawn = noise.uniform(b"key", "any", 100_000)
    assert ((drawn > 0) & (drawn < 1)).all()
    assert torch.histc(drawn, 10, 0, 1).sub(10_000).abs().max() < 400


def test_none_are_none() -> None:
    assert noise.normal(b"key", "any", 0).tolist() == []
    assert noise.uniform(b"key", "any", 0).tolist() == []
    assert len(noise.normal(b"key", "any", 3)) == 3
