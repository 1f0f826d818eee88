"""What secure aggregation costs is measured by rounds that come to their sum."""

from benchmarks.secure import exchange, rows, uploads


def test_a_few_devices() -> None:
    what, upload, summing = next(iter(uploads()))
    few, more = (exchange(count, what, upload, summing) for count in (4, 11))
    assert few["plain_bytes"] == more["plain_bytes"] > 10 * 512 * 4
    assert few["plain_bytes"] < few["up_bytes"] < more["up_bytes"]
    assert more["down_bytes"] - few["down_bytes"] > 7 * 148
    assert rows([few]).count("\n") == 3
