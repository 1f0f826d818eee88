"""Reports of simulated runs, of folders made by hand and of real ones."""

import re
from pathlib import Path

import pytest

from edgeloop.errors import ConfigError, RunError
from simulations.engine.run import simulate
from simulations.report import command, simulated
from simulations.report.bubbles import bubbles
from simulations.results.groups import group_runs
from simulations.results.runs import find
from simulations.settings import RunSettings
from tests.simulations.runs_made_by_hand import write_broadcast, write_run
from tests.simulations.test_report import _Page

TITLES = (
    *("Accuracy", "Every client", "Who has what", "A map of the prototypes"),
    *("Bytes", "Time", "Settings"),
)


def page_of(*folders: Path) -> str:
    return simulated.render(group_runs(find(folders)))


def test_seeds_are_a_curve_with_their_spread(tmp_path: Path) -> None:
    write_run(tmp_path / "a", accuracies=(0.0, 0.25, 0.5))
    write_run(tmp_path / "b", accuracies=(0.0, 0.75, 0.5), seed=1)
    page = page_of(tmp_path)
    (corners,) = re.findall(r'<polygon points="([^"]*)"', page)
    heights = [float(pair.split(",")[1]) for pair in corners.split()]
    # The mean is 0.5 and the deviation 0.354 in round 1: 184 pixels from 0 to 1, 196 is the ground.
    high, low = (196 - value * 184 for value in (0.8536, 0.1464))
    assert heights == pytest.approx([196, high, 104, 104, low, 196], abs=0.1)
    assert "0.6250 ± 0.1768" in page  # best of 0.5 and 0.75
    assert [text for text in TITLES if text in _Page(page).text] == list(TITLES)


def test_clients_stand_beside_local_of_the_same_partition(tmp_path: Path) -> None:
    write_run(tmp_path / "a", by_client=(0.5, 0.75, 1.0))
    write_run(tmp_path / "b", "local", by_client=(0.25, 0.75, 0.75))
    page = page_of(tmp_path)
    # Gains 0.25, 0, 0.25.
    assert "<h2>Did it pay?</h2><p>Whether taking part paid cannot be decided" in page
    assert "+16.7 points (95 % interval -19.2 to +52.5) over 3 devices with 4 test" in page
    assert re.findall(r"<title>client-00, (\w+): (0[\d.]+)<", page) == [
        ("Local", "0.250"),
        ("FedProto", "0.500"),
    ]
    assert "+0.250" in page
    assert "No run of Local" not in page
    assert 'class="loud"' not in page


def test_other_partitions_are_apart_and_said_loudly(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", "local", fingerprint="other")
    page = page_of(tmp_path)
    assert '<p class="loud">These runs are of different partitions' in page
    assert "No run of Local on this partition" in page
    assert "Did it pay?" not in page
    assert page.count("the largest disc is 26 samples") == 2


def test_a_disc_has_the_area_of_its_samples() -> None:
    drawn = bubbles("who", ["a"], ["x", "y", "z"], [[16, 4, 0]], "red")
    radii = [float(each) for each in re.findall(r' r="([\d.]+)"', drawn)]
    assert radii == [8.5, 4.25]  # a quarter of the samples, half the radius; none, no disc
    assert "<title>a, y: 4</title>" in drawn


def test_prototypes_and_images_of_the_last_broadcast(tmp_path: Path) -> None:
    write_broadcast(write_run(tmp_path / "a"))
    write_broadcast(write_run(tmp_path / "b", "fedktl"), images=True)
    page = page_of(tmp_path)
    assert "The 2 prototypes of 3 entries of the last broadcast" in page
    assert "<title>global, boot</title>" in page
    (grid,) = re.findall(r'<div class="images">.*?</div></div>', page)
    assert "round 1" in grid
    assert len(_Page(grid).images()) == 2


def test_settings_that_differ_are_marked(tmp_path: Path) -> None:
    write_run(tmp_path / "a", pull=1.0, alpha=0.5)
    write_run(tmp_path / "b", pull=2.5, alpha=0.5)
    page = page_of(tmp_path)
    marked = re.findall(r'<tr class="differs"><th scope="row">([^<]*)</th>(.*?)</tr>', page)
    assert marked == [("pull", "<td>1.0</td><td>2.5</td>")]
    assert "<td>0.5</td>" in page.partition("settings that are the same")[2]


def test_the_page_needs_no_other_and_escapes(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "a"))
    assert not re.search(r"https?://|@import|url\(", page)
    assert "<b>shirt" not in page
    assert "&lt;b&gt;shirt" in page
    assert "prefers-color-scheme: dark" in page


def test_real_runs_with_history_are_drawn(settings: RunSettings, tmp_path: Path) -> None:
    kept = settings.model_copy(update={"history": True})
    simulate(kept, tmp_path / "runs" / "0", lambda done, _: None)
    simulate(
        kept.model_copy(update={"algorithm": "local", "options": {}}),
        tmp_path / "runs" / "1",
        lambda done, _: None,
    )
    assert command.main([str(tmp_path / "runs")]) == 0
    page = (tmp_path / "runs" / "report.html").read_text()
    assert "uploaded in round 1" in page
    assert "broadcast, " in page
    assert 'class="missing"' not in page


def test_what_cannot_be_reported_is_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (tmp_path / "demo" / "aggregator").mkdir(parents=True)
    with pytest.raises(ConfigError, match="a demo has a report of its own; give it alone"):
        command.main([str(run), str(tmp_path / "demo")])
    with pytest.raises(RunError, match="holds no finished run"):
        command.main([str(tmp_path / "demo" / "aggregator")])
    with pytest.raises(RunError, match="cannot be written"):
        command.write_runs([run], tmp_path / "nowhere" / "r.html")
    (run / "rounds.csv").write_text("round\n0\n")
    with pytest.raises(RunError, match=r"rounds.csv: is damaged \(KeyError"):
        command.write_runs([run])
