// Landslides that look like the one that was clicked, in the eyes of the networks.
"use strict";

class Alike {
  constructor(ground, said) {
    this.ground = ground;
    this.said = said;
    ground.map.on("click", (event) => this.ground.area?.alike && this.open(this.at(event.latlng)));
    element("alike-close").addEventListener("click", () => this.open(-1));
  }

  // The rings of a landslide, as the page has them: tenths of a pixel.
  rings(row) {
    const { alike, outlines } = this.ground.area;
    const first = alike.rings.slice(0, row).reduce((sum, count) => sum + count, 0);
    return outlines.mapped.slice(first, first + alike.rings[row]);
  }

  // The row of the landslide at a point of the map, -1 for none.
  at(point) {
    const { alike, outlines, transform } = this.ground.area;
    const [x, y] = [(10 * point.lng) / transform[0], (10 * point.lat) / transform[4]];
    let ring = 0;
    return alike.rings.findIndex((count) => {
      let inside = false;
      for (const last = ring + count; ring < last; ring += 1) if (crosses(outlines.mapped[ring], x, y)) inside = !inside;
      return inside;
    });
  }

  // What lies in the middle of the map, for those who use keys.
  middle() {
    if (!this.ground.area.alike) return this.said("Which landslides are alike is not known here. Run", "make embed && dvc repro -s page");
    const row = this.at(this.ground.map.getCenter());
    if (row < 0) this.said("No landslide of the map lies in the middle of the view.");
    this.open(row);
    return element("alike-list").querySelector("button")?.focus();
  }

  open(row) {
    element("alike").hidden = row < 0;
    element("alike-list").replaceChildren();
    this.ground.remove("alike");
    if (row < 0) return;
    const { ids, area_m2: sizes, nearest } = this.ground.area.alike;
    element("alike-name").textContent = `Landslide ${ids[row]}, ${sized(sizes[row])}`;
    for (const near of nearest[row]) {
      const button = made("button", { type: "button", text: `${ids[near]}, ${sized(sizes[near])}` });
      button.addEventListener("click", () => this.visit(near));
      element("alike-list").append(made("li", {}, button));
    }
    this.ground.outline("alike", [row, ...nearest[row]].flatMap((each) => this.rings(each)));
  }

  visit(row) {
    const [pixel, , , , down] = this.ground.area.transform;
    const corners = this.rings(row).flatMap((ring) =>
      ring.flatMap((tenths, i) => (i % 2 ? [] : [[(ring[i + 1] / 10) * down, (tenths / 10) * pixel]])));
    this.ground.look(L.latLngBounds(corners));
  }
}

// Whether a ray from a point to the east crosses a ring an odd number of times.
function crosses(ring, x, y) {
  let odd = false;
  for (let i = 2; i < ring.length; i += 2) {
    const [x0, y0, x1, y1] = ring.slice(i - 2, i + 2);
    if (y0 > y !== y1 > y && x < x0 + ((y - y0) / (y1 - y0)) * (x1 - x0)) odd = !odd;
  }
  return odd;
}
