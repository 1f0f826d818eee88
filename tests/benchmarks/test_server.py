from benchmarks import server


def test_a_step_is_measured_beside_its_products_and_the_machines_rate() -> None:
    found = server.measure(clients=3, classes=2, repeats=1, epochs=1)
    assert list(found) == ["autograd", "the step", "its products", "sgemm rate"]
    assert all(seconds > 0 for seconds in found.values())
