"""A click on a figure of the report lays it over the page in full size, without a script; another one gives the page back."""

from __future__ import annotations

import io
from collections.abc import Iterator

import chromium
import pytest
from PIL import Image

from hpcl.report.html import Plates
from hpcl.report.page import STYLE

SIZES = {"small.png": (400, 300), "tall.png": (780, 1400), "broad.png": (2400, 500)}


def _png(size: tuple[int, int]) -> bytes:
    packed = io.BytesIO()
    Image.new("P", size, 1).save(packed, "png")
    return packed.getvalue()


@pytest.fixture(scope="module", params=[1300, 700])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    if chromium.CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    root = tmp_path_factory.mktemp("full_size")
    plates = Plates({name: _png(size) for name, size in SIZES.items()})
    figures = [f'<div id="{name[:-4]}">{plates.row(plates.one(name, "alt", "words"))}</div>' for name in SIZES]
    style = STYLE.read_text(encoding="utf-8")
    html = f'<!DOCTYPE html><html><head><style>{style}</style></head><body><div class="frame">{"".join(figures)}</div></body></html>'
    (root / "page.html").write_text(html, encoding="utf-8")
    with chromium.Page(root) as opened:
        opened.call(
            "Emulation.setDeviceMetricsOverride", width=request.param, height=900, deviceScaleFactor=1, mobile=False
        )
        opened.open(root / "page.html")
        yield opened


def _box(page: chromium.Page, figure: str, part: str) -> list[float]:
    left, top, width, height = page.evaluate(
        "((r) => [r.left, r.top, r.width, r.height])"
        f"(document.querySelector('#{figure} {part}').getBoundingClientRect())"
    )
    return [left, top, width, height]


@pytest.mark.xdist_group("full_size")
@pytest.mark.parametrize("figure", ["small", "tall", "broad"])
@pytest.mark.parametrize("way", ["click", "key"])
def test_a_figure_covers_the_window_at_no_less_than_its_own_pixels(page: chromium.Page, figure: str, way: str) -> None:
    def act() -> None:
        if way == "click":
            page.click(f"#{figure} summary")
        else:
            page.evaluate(f"document.querySelector('#{figure} summary').focus()")
            page.keys(" ")

    page.evaluate(f"document.querySelector('#{figure}').scrollIntoView()")
    before = _box(page, figure, "img")
    window = page.evaluate("[document.documentElement.clientWidth, document.documentElement.clientHeight]")
    act()
    assert _box(page, figure, "summary") == [0, 0, *window]
    own = SIZES[f"{figure}.png"]
    width, height = _box(page, figure, "img")[2:]
    assert width >= max(own[0], 0.95 * window[0])
    assert height / width == pytest.approx(own[1] / own[0], rel=0.01)
    act()
    assert _box(page, figure, "img") == before, "the page is where it was"
    assert page.complaints() == []
