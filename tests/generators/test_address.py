import pytest

from edgeloop.errors import GeneratorError
from edgeloop.generators import address
from edgeloop.generators.address import Address


def test_a_reference_names_a_place_a_generator_and_perhaps_a_version() -> None:
    plain = "triton://gpu-7.example:8001/digits"
    assert address.read(plain) == Address(plain, "gpu-7.example:8001", "digits", None)
    assert address.read(plain + "?version=2").version == 2
    assert address.read("triton://[::1]:8001/digits").place == "[::1]:8001"


def test_its_two_models() -> None:
    found = address.read("triton://h:1/digits")
    assert (found.mapping, found.synthesis) == ("digits-mapping", "digits-synthesis")


@pytest.mark.parametrize(
    ("reference", "part"),
    [
        ("http://h:8001/digits", "scheme"),
        ("triton://:8001/digits", "host"),
        ("triton://h/digits", "port"),
        ("triton://h:0/digits", "port"),
        ("triton://h:grpc/digits", "port"),
        ("triton://h:99999/digits", "port"),
        ("triton://h:8001", "name"),
        ("triton://h:8001/", "name"),
        ("triton://h:8001/a/b", "name"),
        ("triton://h:8001/digits?version=", "version"),
        ("triton://h:8001/digits?version=0", "version"),
        ("triton://h:8001/digits?version=new", "version"),
        ("triton://h:8001/digits?v=2", "query"),
    ],
)
def test_a_wrong_part_is_named(reference: str, part: str) -> None:
    with pytest.raises(GeneratorError) as caught:
        address.read(reference)
    assert caught.value.field == f"{part} of {reference!r}"
