import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks import environment, exchange, gains, grid
from benchmarks.grid import ALONE, SETTINGS, STATISTICS, WAYS, Setting
from edgeloop.errors import ConfigError

TINY: Mapping[str, Setting] = {
    "tiny": Setting(
        "tiny: devices",
        "three",
        grid.EMBEDDED,
        {
            **{"partition": "iid", "balanced": True, "clients": 3, "samples": 120, "shots": 1},
            **{"models": "cnn-flat2", "width": 8, "rounds": 1},
        },
        rate=0.1,
    )
}


def test_every_setting_and_way_is_a_run_that_the_simulation_takes() -> None:
    jobs = exchange.jobs_of(SETTINGS, 3, Path("data"), Path("out"))
    for job in jobs.values():
        job.settings.check()
        assert job.settings.workers == 1
    assert len({job.folder for job in jobs.values()}) == len(jobs)
    assert {(name, way) for name, way, *_ in jobs} == {
        (name, way) for name, each in SETTINGS.items() for way in grid.ways(each)
    }
    order = [key[2:] for key in jobs]
    assert order == sorted(order), "all first seeds, then with mixtures, and only then others"
    assert {seed for seed, _ in order} == {0, 1, 2}


def test_fedavg_is_asked_only_where_all_devices_have_one_architecture() -> None:
    for each in SETTINGS.values():
        mixed = "," in each.options["models"]
        assert ("FedAvg" not in grid.ways(each)) == mixed
    assert any("," in each.options["models"] for each in SETTINGS.values())


def test_what_is_compared_trains_alike_and_only_what_can_is_mixed() -> None:
    jobs = exchange.jobs_of(SETTINGS, 1, Path("data"), Path("out"))
    for (name, way, _, mix), job in jobs.items():
        asked = job.settings
        rate = SETTINGS[name].rate
        assert asked.options == {"local_lr": rate}
        assert asked.mix == ("auto" if mix else "never")
        assert not (mix and way in (ALONE, STATISTICS))
        assert asked.rounds == (1 if way == STATISTICS else SETTINGS[name].options["rounds"])
        assert asked.partition_seed == asked.seed + 1


def test_settings_without_data_are_left_out_unless_they_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = exchange.asked("", tmp_path)
    assert {each.data for each in found.values()} == {grid.EMBEDDED}
    assert "cifar10, cifar100, har" in capsys.readouterr().err
    (tmp_path / "har").mkdir()
    assert "har-6" in exchange.asked("", tmp_path)
    assert list(exchange.asked("few, har-6", tmp_path)) == ["few", "har-6"]
    with pytest.raises(ConfigError, match="cifar10"):
        exchange.asked("cifar10", tmp_path)
    with pytest.raises(ConfigError, match="there is no 'fewer'"):
        exchange.asked("fewer", tmp_path)


def test_a_tiny_map_goes_on_where_it_stopped_and_is_told(tmp_path: Path) -> None:
    jobs = exchange.jobs_of(TINY, 1, tmp_path, tmp_path / "runs")
    some = {key: jobs[key] for key in list(jobs)[:2]}
    exchange.run(some, 1)
    stamps = {job.folder: (job.folder / "summary.json").stat().st_mtime_ns for job in some.values()}
    partly = exchange.gather(jobs)
    assert [each.way for each in partly] == [ALONE, "FedAvg"]
    assert partly[1].mix is None
    text = exchange.promise_table(TINY, partly, jobs)
    assert f"2 of {len(jobs)} runs." in text
    assert "| nothing to say |" in text

    exchange.run(jobs, 1)
    for folder, stamp in stamps.items():
        assert (folder / "summary.json").stat().st_mtime_ns == stamp, "it ran again"
    every = exchange.gather(jobs)
    assert [each.way for each in every] == list(WAYS)
    by_way = {each.way: each for each in every}
    assert by_way[ALONE].run.mean == 0
    averaged = by_way["FedAvg"]
    assert averaged.run == partly[1].run, "a mixture changes nothing in the run"
    assert (averaged.run.devices, averaged.up > 1000) == (3, True)
    assert averaged.mix is not None
    assert averaged.mix.rows[0].gained is not None, "the mixture's hits are known"
    statistics = by_way[STATISTICS]
    assert statistics.mix == statistics.run
    assert statistics.added is not None
    assert averaged.added is None
    told = json.loads((tmp_path / "runs/tiny/class-statistics-0/summary.json").read_text())["mix"]
    gain = told["mean"]["mixed"] - told["mean"]["alone"]
    assert statistics.added.mean == pytest.approx(gain)
    text = exchange.promise_table(TINY, every, jobs)
    assert f"{len(jobs)} of {len(jobs)} runs." in text
    (row,) = re.findall(r"^\| .* \| FedAvg \| .*$", text, re.MULTILINE)
    assert len(row.split("|")) == len(exchange.COLUMNS) + 2
    assert gains.picture(TINY, every)[:4] == b"\x89PNG"


def test_nobody_is_told_of_that_has_nobody_alone_beside_it(tmp_path: Path) -> None:
    jobs = exchange.jobs_of(TINY, 1, tmp_path, tmp_path / "runs")
    key = ("tiny", "FedAvg", 0, False)
    exchange.run({key: jobs[key]}, 1)
    assert exchange.gather(jobs) == []


def test_the_page_has_the_place_that_the_command_writes_to() -> None:
    text = exchange.DOCUMENT.read_text(encoding="utf-8")
    assert "<!-- exchange -->\n" in text
    assert "<!-- /exchange -->\n" in text
    assert environment.ROOT in exchange.PICTURE.parents
