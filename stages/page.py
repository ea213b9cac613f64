"""Put all areas on one map for the browser, with what the audit asks, so that a mapper can look and decide."""

from __future__ import annotations

from pathlib import Path

from hpcl.besides import mapped_besides
from hpcl.core import artifacts
from hpcl.core.areas import Names
from hpcl.page import area, html
from hpcl.page.shares import shares
from hpcl.settings.page import PageSettings
from stages._stage import params, progress, run

DATA, OUT = Path("data"), Path("reports/map.html")
CORNERS = 400_000
"""Of outlines on the page: some 5 MB."""


def main() -> None:
    """Write reports/map.html; it opens from disk and needs no network. It also shows areas that `make map` mapped."""
    settings = params("page", PageSettings)
    names = params("areas", Names)
    files = [area.Files(name, DATA) for name in [*names, *mapped_besides(DATA, names)]]
    pixels, rows = zip(*(each.size() for each in files), strict=True)
    budgets = [
        area.Budget(raster_px, int(listed), int(pictures), settings.picture_px, CORNERS // len(files))
        for raster_px, listed, pictures in zip(
            shares(settings.raster_mpx * 1e6, pixels),
            shares(settings.rows, rows),
            shares(settings.pictures, rows),
            strict=True,
        )
    ]
    areas = []
    bar = progress("page")
    for each, budget in zip(files, budgets, strict=True):
        areas.append(area.read(each, budget))
        if each.embedded.exists() and areas[-1]["alike"] is None:
            print(f"page: {each.embedded} is of another map and is not shown; run make embed again.")
        bar(len(areas), len(files))
    page = html.render(areas).encode()
    artifacts.write_bytes(OUT, page)
    listed = sum(len(each["rows"]) for each in areas)
    print(f"page: {OUT}, {len(page) / 1e6:.1f} MB; {len(areas)} areas, {listed} candidates to decide on")


if __name__ == "__main__":
    run(main)
