"""coregister.bands names the bands of the image on which the DEM must lie; the others are looked at, and decide nothing."""

import functools
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ground import DEM_GRID, DEM_M, IMAGE_GRID, IMAGE_M, Ground, colours, displaced, picture, save
from hpcl.coregister.image import align_to_image
from hpcl.coregister.shift import Shift
from hpcl.settings.coregister import CoregisterError, CoregisterSettings

ALL = CoregisterSettings(minimum_gain_frac=0.02, maximum_shift_px=8, sample_patches=64)
MOVE_M = (2.1, -1.3)
"""What lays the DEM on the bands that lie right."""


def counting(*names: str) -> CoregisterSettings:
    return replace(ALL, bands=names)


@pytest.fixture(scope="module")
def dem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("dem") / "d.tif", DEM_GRID, displaced(Ground(), MOVE_M))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gray and a dull one lie right, red lies 6 pixels further east and green 5 further south, noise shows nothing."""
    ground = Ground()
    red = np.roll(picture(ground, seed=9, albedo=0.2, noise=0.01), 6, axis=1)  # the clearest of all
    green = np.roll(picture(ground, seed=10), 5, axis=0)
    gray, dull = picture(ground), picture(ground, seed=11, albedo=0.5)
    noise = np.random.default_rng(0).normal(size=gray.shape)
    names = colours("red", "green", "gray", "dull", "noise")
    return save(tmp_path_factory.mktemp("image") / "i.tif", IMAGE_GRID, red, green, gray, dull, noise, bands=names)


Aligned = Callable[..., Shift]


@pytest.fixture(scope="module")
def aligned(image: Path, dem: Path) -> Aligned:
    """The shift with the bands of these names counting; each is computed once."""
    return functools.cache(lambda *names: align_to_image(image, dem, counting(*names)))


PLACES_M = {
    "red": (MOVE_M[0] + 6 * IMAGE_M, MOVE_M[1]),
    "green": (MOVE_M[0], MOVE_M[1] - 5 * IMAGE_M),
    "gray": MOVE_M,
    "dull": MOVE_M,
}


@pytest.mark.parametrize(
    ("names", "place"),
    [(("gray",), "gray"), (("dull", "gray"), "gray"), (("red",), "red"), (("green", "noise"), "green")],
)
def test_the_bands_that_count_decide(aligned: Aligned, names: tuple[str, ...], place: str) -> None:
    shift = aligned(*names)
    assert shift.accepted, shift.reason
    assert math.dist((shift.east_m, shift.north_m), PLACES_M[place]) < 0.1 * DEM_M
    assert shift.facts().band in names


@pytest.mark.parametrize("names", [("gray",), ("red", "dull"), ()])
def test_every_band_says_where_it_lies(aligned: Aligned, names: tuple[str, ...]) -> None:
    facts = aligned(*names).facts()
    said = {band.name: band for band in facts.bands}
    assert list(said) == ["red", "green", "gray", "dull", "noise"]
    for name, place in PLACES_M.items():
        assert math.dist((said[name].east_m, said[name].north_m), place) < 0.25 * DEM_M
        assert said[name].correlation > 0.3
        assert said[name].unseen is None
    assert said["noise"].correlation is None
    assert "groups of patches find the same shift" in said["noise"].unseen
    assert [name for name, band in said.items() if band.counts] == [name for name in said if name in names or not names]
    json.dumps(asdict(facts), allow_nan=False)


@pytest.mark.parametrize(
    ("names", "overruled"),
    [
        (("gray",), {"red", "green"}),
        (("red",), {"green", "gray", "dull"}),
        (("gray", "dull", "green", "red"), set()),
        (("noise",), set()),
    ],
)
def test_who_is_overruled_is_said(aligned: Aligned, names: tuple[str, ...], overruled: set[str]) -> None:
    """Not those that agree with what decides, nor those that show nothing; and nobody if nothing decides."""
    assert {finding.split("'")[1] for finding in aligned(*names).findings} == overruled


def test_the_refusal_names_the_remedy_and_the_remedy_works(aligned: Aligned) -> None:
    refused = aligned()
    assert not refused.accepted
    assert "px apart" in refused.reason
    assert "name it in coregister.bands" in refused.reason
    first, second = refused.reason.split("'")[1:4:2]
    for name in (first, second):
        assert aligned(name).accepted
    assert not aligned(first, second).accepted


def test_bands_that_count_and_see_nothing(aligned: Aligned) -> None:
    shift = aligned("noise")
    assert not shift.accepted
    assert shift.reason.startswith("No band in coregister.bands ('noise') shows the relief of the DEM (")
    assert shift.facts().band == "noise"
    assert shift.findings == ()


def test_an_empty_list_is_all_bands(tmp_path: Path, dem: Path) -> None:
    ground = Ground()
    image = save(tmp_path / "i.tif", IMAGE_GRID, picture(ground), picture(ground, seed=8), bands=colours("red", "gray"))
    every, named = (align_to_image(image, dem, counting(*names)) for names in ((), ("gray", "red")))
    assert every.accepted
    assert every == named
    assert every.findings == ()


@pytest.mark.parametrize("names", [("grey",), ("Gray",), ("nir", "swir"), ("",)])
def test_names_of_no_band_are_refused(image: Path, dem: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(CoregisterError) as refusal:
        align_to_image(image, dem, counting(*names))
    sentence = str(refusal.value)
    assert all(f"'{name}'" in sentence for name in (*names, "red", "green", "gray", "dull", "noise"))
    assert "coregister.bands" in sentence


@pytest.mark.parametrize("names", [("gray", "nir"), ("pan", "gray", "nir")])
def test_a_name_that_one_area_lacks_is_said(aligned: Aligned, names: tuple[str, ...]) -> None:
    shift = aligned(*names)
    assert shift.accepted
    assert replace(shift, findings=()) == replace(aligned("gray"), findings=())
    assert all((f"'{name}'" in shift.findings[0]) for name in names if name != "gray")
    assert shift.findings[0].startswith("coregister.bands names")


@pytest.mark.parametrize("reference", [True, False], ids=["reference", "image"])
def test_the_stage_says_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], image: Path, dem: Path, reference: bool
) -> None:  # fmt: skip
    """With a reference DEM the bands do not matter, whatever the parameter names, and nothing is said of them."""
    from stages.coregister import main

    monkeypatch.chdir(tmp_path)
    names = "[nonsense]" if reference else "[gray, nir]"
    Path("params.yaml").write_text(
        f"coregister: {{minimum_gain_frac: 0.02, maximum_shift_px: 8, sample_patches: 64, bands: {names}}}\n"
    )
    folder = Path("data/ingest/place")
    folder.mkdir(parents=True)
    for name, source in {"image.tif": image, "dem.tif": dem}.items():
        (folder / name).symlink_to(source)
    if reference:
        save(folder / "reference_dem.tif", DEM_GRID, displaced(Ground(), (0, 0), seed=3))
    main("place")
    facts = json.loads(Path("data/coregister/place/shift.json").read_text())
    said = capsys.readouterr().out
    assert facts["accepted"]
    assert len(facts["findings"]) == (0 if reference else 3)
    assert bool(facts["bands"]) != reference
    assert said == "".join(f"place: {sentence}\n" for sentence in (facts["reason"], *facts["findings"]))


def test_the_report_shows_every_band(aligned: Aligned) -> None:
    from hpcl.report.areas import _band_looks

    table = _band_looks(aligned("gray", "noise").facts().bands)
    rows = [row for row in table.split("<tr>") if "<td>" in row]
    assert [row.split("<td>")[1].split("<")[0] for row in rows] == ["red", "green", "gray", "dull", "noise"]
    assert ["<td>yes</td>" in row for row in rows] == [False, False, True, False, True]
    assert "noise: only" in table
    assert _band_looks([]) == ""
