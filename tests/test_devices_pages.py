"""The devices' pages: commands for a shell, files for the agent, a recorder that works."""

import os
import re
import subprocess
import sys
import tomllib
import tty
from pathlib import Path

import pytest

from edge.agent.settings import DeviceSettings
from edge.agent.torch_build import CPU_TORCH
from edgeloop.data import DeviceData
from edgeloop.runtime.config import parse
from tests import forked
from tests.devices import wait_until

PAGES = sorted((Path(__file__).parents[1] / "docs" / "devices").glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def test_there_is_a_page_for_each_kind() -> None:
    names = {page.stem for page in PAGES}
    assert names == {"raspberry-pi", "jetson", "x86-gateway", "recording"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_files_are_read(page: Path) -> None:
    for command in blocks(page, "bash"):
        subprocess.run(["/bin/bash", "-n"], input=command, text=True, check=True)
    files = blocks(page, "toml")
    assert files
    for text in files:
        parse(tomllib.loads(text), DeviceSettings, page.name)


@pytest.mark.parametrize("name", ["raspberry-pi", "x86-gateway"])
def test_the_build_for_cpus_is_named_first(name: str) -> None:
    (page,) = [each for each in PAGES if each.stem == name]
    place = CPU_TORCH.removeprefix("pip install torch ")
    first = next(
        line
        for line in blocks(page, "bash")[0].splitlines()
        if "install" in line and "apt" not in line
    )
    assert "torch" in first
    assert place in first


def test_every_option_of_the_commands_is_there() -> None:
    text = "".join(command for page in PAGES for command in blocks(page, "bash"))
    for subcommand in ("init", "install", "doctor"):
        words = [str(Path(sys.executable).with_name("edgeloop")), "agent", subcommand, "--help"]
        said = forked.run(words, check=True).stdout
        lines = re.findall(rf"edgeloop agent {subcommand} (.*)", text)
        assert lines
        for option in {each for line in lines for each in re.findall(r"--[a-z-]+", line)}:
            assert option in said


def test_a_serial_line_becomes_windows(tmp_path: Path) -> None:
    (page,) = [each for each in PAGES if each.stem == "recording"]
    program = tmp_path / "record_serial.py"
    program.write_text(blocks(page, "python")[0])
    table = tomllib.loads(blocks(page, "toml")[0])
    recordings = tmp_path / "recordings"
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    words = [str(program), os.ttyname(theirs), str(recordings / "running"), "ax", "ay", "az"]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    try:
        os.write(ours, b"98,0.1\n")  # it was cut
        for number in range(1000):
            os.write(ours, b"%d,0.5,-1\n" % number)

        def written() -> int:
            files = recordings.glob("running/*.csv")
            return sum(len(each.read_text().splitlines()) - 1 for each in files)

        wait_until(lambda: written() == 1000)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
    data = {**table["data"], "source": str(recordings)}
    settings = parse({**table, "data": data}, DeviceSettings, "device.toml")
    samples = DeviceData(settings.data.selection()).samples_for(("running",), (3, 1, 200)).data
    assert len(samples.train) + len(samples.test) > 0
