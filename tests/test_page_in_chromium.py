"""The map for the browser, used as a mapper uses it: real clicks and keys in Chromium, and what the saved file says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import geopandas as gpd
import numpy as np
import pytest
import shapely
from test_page import BRIGHT, BUDGET, CORNER, HOSTILE, NORTH, WEST, asked, plant, probability

from hpcl.core.review import COLUMNS, DOUBTFUL, LAYERS, NEXT, OMISSIONS
from hpcl.geo import vector
from hpcl.page import area, html

pytestmark = [
    pytest.mark.skipif(chromium.CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.xdist_group("chromium"),
]
DENIED = (
    "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('denied', 'SecurityError'); } })"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    with chromium.Page(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture(scope="module")
def areas(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """One with candidates, one that was only mapped."""
    data = tmp_path_factory.mktemp("data")
    planted = plant(data), plant(data, "hill", review=False, inventory=False)
    return [area.read(files, BUDGET) for files in planted]


@pytest.fixture
def opened(browser: chromium.Page, areas: list[dict[str, Any]], tmp_path: Path) -> chromium.Page:
    """The page, in a browser that has kept nothing."""
    return show(browser, areas, tmp_path)


def show(browser: chromium.Page, areas: list[dict[str, Any]], folder: Path) -> chromium.Page:
    file = folder / "map.html"
    file.write_text(html.render(areas), encoding="utf-8")
    browser.evaluate("location.protocol === 'file:' && localStorage.clear()")  # files share it
    reopen(browser, file)
    browser.events.clear()
    return browser


def reopen(browser: chromium.Page, file: Path) -> None:
    browser.open(file)
    browser.wait("typeof decisions !== 'undefined' && decisions && panel.area")


def click(page: chromium.Page, at: shapely.Point) -> None:
    """Click on the map, at a point of the area's grid."""
    x, y = page.evaluate(
        f"(() => {{ const p = ground.map.latLngToContainerPoint(ground.at([{at.x}, {at.y}]));"
        " const r = element('map').getBoundingClientRect(); return [r.x + p.x, r.y + p.y]; })()"
    )
    page.drag((x, y), (x, y))


def saved(browser: chromium.Page) -> dict[str, Any]:
    """What the page saves, once it has."""
    for old in browser.downloads.glob("*"):
        old.unlink()
    browser.keys("s")
    found: dict[str, Any] = json.loads(browser.saved("review.geojson").read_text())
    return found


def answers(found: dict[str, Any]) -> list[tuple[str, int, str]]:
    rows = [feature["properties"] for feature in found["features"]]
    return [(row["layer"], row["rank"], row["decision"]) for row in rows]


def test_keys_decide_and_the_file_says_so(opened: chromium.Page) -> None:
    opened.keys("a", "r", "k", "k", "j", "j", "u", "2", "r", "4", "a")
    opened.keys("n")
    opened.type('Fresh scarp, "toe" <b>gone</b>')
    opened.keys("Escape")
    found = saved(opened)
    expected = [
        (OMISSIONS, 1, "accept"),
        (OMISSIONS, 2, "reject"),
        (OMISSIONS, 3, "unsure"),
        (DOUBTFUL, 1, "reject"),
        (NEXT, 1, "accept"),
    ]
    assert sorted(answers(found)) == sorted(expected)
    assert (found["type"], found["area"]) == ("FeatureCollection", "valley")
    given = asked()
    for feature in found["features"]:
        said, shape = feature["properties"], shapely.geometry.shape(feature["geometry"])
        assert list(said) == ["layer", *COLUMNS]
        row = given[said["layer"]].iloc[said["rank"] - 1]
        assert vector.digest(shape) == vector.digest(row.geometry)
        unchanged = set(COLUMNS) - {"decision", "note", "probability"}
        assert {name: said[name] for name in unchanged} == {name: row[name] for name in unchanged}
        assert said["note"] == ('Fresh scarp, "toe" <b>gone</b>' if said["layer"] == NEXT else "")
        assert said["probability"] is None if said["layer"] == NEXT else said["probability"] == row["probability"]
    table = gpd.read_file(opened.downloads / "review.geojson")
    assert table.crs.to_epsg() == 32648
    assert table.total_bounds == pytest.approx(gpd.pd.concat([*given.values()]).iloc[[0, 1, 2, 3, 5]].total_bounds)
    assert "python -m stages.review valley ~/Downloads/review.geojson" in opened.text("#message")
    assert opened.complaints() == []


def test_clicks_decide_and_an_undo_takes_back(opened: chromium.Page) -> None:
    opened.click("#list li:nth-child(2)")
    assert opened.text("#name") == "Omissions, 2 of 3"
    opened.click("#decide .accept")
    opened.click("#decide .reject")
    assert opened.text("#progress") == "2 of 3 decided"
    assert "accepted" in opened.text("#list li:nth-child(2)")
    opened.click("[data-layer=outlines]")
    opened.click("#decide .undo")
    assert opened.text("#progress") == "1 of 3 decided"
    assert opened.text("#name") == "Omissions, 3 of 3"
    opened.keys("z", "z")
    assert opened.text("#progress") == "0 of 3 decided"
    assert "nothing to take back" in opened.text("#message")
    assert opened.evaluate("element('save').disabled")


def test_a_candidate_is_chosen_on_the_map(opened: chromium.Page) -> None:
    opened.keys("3", "1", "f", "k", "f")
    opened.click("#list li:nth-child(3)")
    opened.keys("f")
    click(opened, shapely.affinity.translate(BRIGHT.centroid, 20))
    assert opened.text("#name") == "Omissions, 1 of 3"


def test_a_landslide_shows_those_that_look_like_it(browser: chromium.Page, tmp_path: Path) -> None:
    found = area.read(plant(tmp_path / "data", review=False, embedded=True), BUDGET)
    page = show(browser, [found], tmp_path)

    click(page, BRIGHT.centroid)
    assert page.text("#alike-name") == "Landslide 1, 3,600 m²"
    assert page.text("#alike-list").startswith("2, 163 m²")
    assert page.evaluate("ground.layers.alike.rings.length") == 2
    corner = f"ground.at([{CORNER.centroid.x}, {CORNER.centroid.y}])"
    page.evaluate("ground.map.setView(ground.map.getCenter(), ground.map.getMaxZoom(), { animate: false }), 0")
    assert not page.evaluate(f"ground.map.getBounds().contains({corner})")
    page.click("#alike-list button")
    assert page.evaluate(f"ground.map.getBounds().contains({corner})")
    page.evaluate(f"ground.map.setView({corner}, ground.map.getMaxZoom(), {{ animate: false }}), 0")
    page.keys("l")
    assert page.text("#alike-name").startswith("Landslide 2")
    page.keys("f")
    click(page, shapely.Point(WEST + 30, NORTH - 200))
    assert page.evaluate("element('alike').hidden && !ground.layers.alike")
    assert page.requests() == []
    assert page.complaints() == []


def test_a_click_on_a_candidate_is_about_the_candidate_alone(browser: chromium.Page, tmp_path: Path) -> None:
    """The bright square is a candidate and a landslide of the map; the corner is a landslide alone until doubts are shown."""
    page = show(browser, [area.read(plant(tmp_path / "data", embedded=True), BUDGET)], tmp_path)
    page.click("#list li:nth-child(3)")
    page.keys("f")
    click(page, CORNER.centroid)
    assert page.text("#alike-name").startswith("Landslide 2")
    assert page.text("#name") == "Omissions, 3 of 3"
    click(page, BRIGHT.centroid)
    assert page.text("#name") == "Omissions, 1 of 3"
    assert page.evaluate("element('alike').hidden && !ground.layers.alike")
    page.keys("l")
    assert page.text("#alike-name").startswith("Landslide 1")
    assert page.complaints() == []


def test_decisions_outlast_the_page_for_this_area_and_these_networks(
    browser: chromium.Page, areas: list[dict[str, Any]], tmp_path: Path
) -> None:
    show(browser, areas, tmp_path).keys("r")
    reopen(browser, tmp_path / "map.html")
    assert browser.text("#progress") == "1 of 3 decided"
    assert answers(saved(browser)) == [(OMISSIONS, 1, "reject")]
    other = tmp_path / "map.html"
    other.write_text(html.render([areas[0] | {"weights": "others"}]))
    reopen(browser, other)
    assert browser.text("#progress") == "0 of 3 decided"


@pytest.mark.parametrize("left", ["{", "null", '[["omissions x", 3], 7, ["{key}", {"decision": "maybe", "note": ""}]]'])
def test_what_others_left_in_the_browser_is_not_taken_for_answers(
    browser: chromium.Page, areas: list[dict[str, Any]], tmp_path: Path, left: str
) -> None:
    key = f"omissions {areas[0]['rows'][0]['id']}"
    show(browser, areas, tmp_path)
    place = browser.evaluate("decisions.place")
    browser.evaluate(f"localStorage.setItem({json.dumps(place)}, {json.dumps(left.replace('{key}', key))})")
    reopen(browser, tmp_path / "map.html")
    assert browser.text("#progress") == "0 of 3 decided"
    assert browser.complaints() == []


def test_where_the_browser_keeps_nothing_the_page_works_and_says_so(
    browser: chromium.Page, areas: list[dict[str, Any]], tmp_path: Path
) -> None:
    show(browser, areas, tmp_path)
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=DENIED)["identifier"]
    try:
        reopen(browser, tmp_path / "map.html")
        assert "keeps nothing" in browser.text("#message")
        browser.keys("a")
        assert browser.evaluate("atRisk()")
        browser.evaluate("element('area').value = 1, element('area').dispatchEvent(new Event('change'))")
        browser.wait("panel.area.name === 'hill'")
        browser.evaluate("element('area').value = 0, element('area').dispatchEvent(new Event('change'))")
        browser.wait("panel.area.name === 'valley'")
        assert answers(saved(browser)) == [(OMISSIONS, 1, "accept")]
        assert not browser.evaluate("atRisk()")
        assert browser.complaints() == []
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
        reopen(browser, tmp_path / "map.html")  # with its storage again, for the next test


def test_an_area_may_be_left_before_its_ground_is_coloured(opened: chromium.Page) -> None:
    opened.evaluate("cut(), ground.codes = null, 0")  # as while another is being read
    opened.wait("!waiting")
    assert opened.complaints() == []


COLOURED = """(() => { const c = ground.layers.cut.getElement(); const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
    let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; })()"""


def test_the_slider_colours_the_ground_from_its_threshold_on(opened: chromium.Page) -> None:
    opened.evaluate("element('threshold').focus()")
    known, seen = np.isfinite(probability()).sum(), []
    for keys in ([], ["ArrowRight"], ["ArrowLeft"] * 30, ["Home"]):
        opened.keys("ArrowRight", "ArrowLeft", *keys)
        opened.wait("!waiting")
        threshold = float(opened.text("#threshold-value"))
        seen.append(threshold)
        reached = (np.nan_to_num(probability(), nan=-1) >= np.float32(threshold) - 1e-6).sum()
        assert opened.evaluate(COLOURED) == reached
        assert f"{100 * reached / known:.1f} % of the map" in opened.text("#threshold-area")
    assert len(set(seen)) == 4
    opened.keys("t")
    opened.wait("!waiting && !ground.layers.cut")


def test_the_border_is_moved_by_hand_and_by_keys(opened: chromium.Page) -> None:
    def border() -> float:
        return float(opened.evaluate("parseFloat(element('divider').getAttribute('aria-valuenow'))"))

    x, y = opened.place("#divider")
    opened.drag((x, y), (x + 200, y))
    assert border() > 60
    reached = opened.evaluate("ground.map.getPane('left').style.clipPath.match(/[\\d.]+px/g).map(parseFloat)[2]")
    width = opened.evaluate("element('frame').getBoundingClientRect().width")
    assert reached == pytest.approx(width * border() / 100, abs=width * 0.01)
    opened.keys("ArrowLeft")
    assert border() < 100 * (x + 200) / width
    opened.keys("Home")
    assert border() == 0


def test_an_area_that_was_only_mapped_is_shown(opened: chromium.Page) -> None:
    opened.evaluate("element('area').value = 1, element('area').dispatchEvent(new Event('change'))")
    opened.wait("panel.area.name === 'hill'")
    assert "data/audit/hill/review.gpkg" in opened.text("#question")
    assert opened.evaluate("element('card').offsetParent === null && element('inventory-choice').offsetParent === null")
    opened.keys("a", "z", "s", "j")
    assert opened.complaints() == []


def test_hostile_names_and_notes_are_read_as_text(
    browser: chromium.Page, areas: list[dict[str, Any]], tmp_path: Path
) -> None:
    rows = [row | {"reason": HOSTILE, "note": HOSTILE, "decision": HOSTILE} for row in areas[0]["rows"]]
    page = show(browser, [areas[0] | {"name": HOSTILE, "crs_name": HOSTILE, "rows": rows}], tmp_path)
    for layer in range(len(LAYERS)):
        page.keys(str(layer + 1), "a")
    assert page.text("#reason") == HOSTILE
    assert page.evaluate("element('note').value") == HOSTILE
    found = saved(page)
    assert found["area"] == HOSTILE
    assert {feature["properties"]["note"] for feature in found["features"]} == {HOSTILE}
    assert page.evaluate(
        "window.hacked === undefined && document.querySelectorAll('main img:not(.leaflet-image-layer)').length === 0"
    )
    assert page.complaints() == []


def test_nothing_is_fetched(opened: chromium.Page) -> None:
    opened.keys("j", "a", "2", "t", "?", "Escape")
    for side, name in (("left", "uncertainty"), ("right", "hillshade")):
        opened.evaluate(f"element('{side}').value = '{name}', element('{side}').dispatchEvent(new Event('change'))")
    opened.evaluate("new Promise((done) => setTimeout(done, 200))")
    assert opened.requests() == []
    assert opened.complaints() == []
    asked_anyway = "fetch('https://example.org').then(() => 'fetched', () => 'refused')"
    assert opened.evaluate(asked_anyway) == "refused"
    assert "Content Security Policy" in "".join(opened.complaints()), "the policy refused it, not a missing network"
