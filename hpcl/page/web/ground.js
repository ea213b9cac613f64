// The map: two rasters with a border to move, outlines, the cut at a threshold, and candidates.
"use strict";

const RASTERS = ["image", "hillshade", "probability", "uncertainty"];

class Ground {
  constructor(common, onPick) {
    this.common = common;
    this.onPick = onPick;
    this.map = L.map("map", {
      crs: L.CRS.Simple, attributionControl: false, zoomAnimation: false, fadeAnimation: false, inertia: false,
      zoomSnap: 0.25, zoomDelta: 0.5, wheelPxPerZoomLevel: 120, minZoom: -20, preferCanvas: true,
    });
    L.control.scale({ imperial: false, position: "bottomright" }).addTo(this.map);
    const panes = { left: 210, right: 211, cut: 300, inventory: 410, mapped: 411, alike: 412, rows: 413, selected: 414 };
    for (const [name, order] of Object.entries(panes)) {
      const { style } = this.map.createPane(name);
      style.zIndex = order;
      if (name !== "rows") style.pointerEvents = "none"; // a canvas above would take the clicks on candidates
    }
    this.renderers = Object.fromEntries(
      ["rows", "selected"].map((pane) => [pane, L.canvas({ pane, padding: 0.3, tolerance: 4 })]),
    );
    this.layers = {};
    this.border = 0.5;
    this.map.on("move resize zoom", () => this.clip());
    this.map.on("mousemove", (event) => this.read(event.latlng));
    this.map.on("mouseout", () => this.tell(""));
  }

  // Metres east and north of the upper left corner of the area, as the map counts them.
  at([x, y]) {
    const { transform } = this.area;
    return [y - transform[5], x - transform[2]];
  }

  async show(area) {
    this.area = area;
    this.codes = null;
    for (const name of Object.keys(this.layers)) this.remove(name);
    const [pixel, , , , down] = area.transform;
    this.bounds = L.latLngBounds([area.shape[0] * down, 0], [0, area.shape[1] * pixel]);
    this.map.setMaxZoom(Math.log2(12 / pixel));
    this.map.setMaxBounds(this.bounds.pad(0.5));
    this.map.invalidateSize();
    this.map.fitBounds(this.bounds, { animate: false });
    this.map.setMinZoom(this.map.getZoom() - 1);
    const [probability, uncertainty] = await Promise.all(
      ["probability", "uncertainty"].map((name) => codesOf(area.rasters[name])),
    );
    if (this.area !== area) return false; // another one was chosen meanwhile
    this.codes = { probability, uncertainty };
    this.outline("mapped", area.outlines.mapped);
    this.outline("inventory", area.outlines.inventory ?? []);
    return true;
  }

  remove(name) {
    this.layers[name]?.remove();
    delete this.layers[name];
  }

  add(name, layer) {
    this.remove(name);
    this.layers[name] = layer.addTo(this.map);
  }

  raster(side, name) {
    const { rasters } = this.area;
    const parts = [];
    if (name === "image" || name === "hillshade") parts.push(L.imageOverlay(rasters[name], this.bounds, { pane: side }));
    if (name === "probability") parts.push(L.imageOverlay(rasters.hillshade, this.bounds, { pane: side }));
    if (this.codes[name]) parts.push(this.painted(name, side));
    this.add(side, L.layerGroup(parts));
    this.clip();
  }

  painted(name, pane) {
    const codes = this.codes[name];
    const canvas = canvasOf(codes.width, codes.height);
    paint(canvas, codes, rampPalette(this.common.ramps[name], codes.steps, name === "probability"));
    return new CanvasOverlay(canvas, this.bounds, { pane });
  }

  // Colour the ground from a probability on; returns its share and its size.
  cut(threshold, shown) {
    const codes = this.codes.probability;
    const least = Math.round(threshold * codes.steps);
    if (!shown) this.remove("cut");
    else {
      if (!this.layers.cut) this.add("cut", new CanvasOverlay(canvasOf(codes.width, codes.height), this.bounds, { pane: "cut" }));
      paint(this.layers.cut.getElement(), codes, cutPalette(this.common.colours.mapped, codes.steps, least));
    }
    const { reached, known } = countFrom(codes, least);
    const [pixel, , , , down] = this.area.transform;
    const all = (this.area.shape[0] * this.area.shape[1] * Math.abs(pixel * down)) / codes.codes.length;
    return { share: known ? reached / known : 0, m2: reached * all };
  }

  outline(name, rings) {
    const [pixel, , , , down] = this.area.transform;
    this.add(name, new Rings(rings, { pixel: [pixel, down], colour: this.common.colours[name], pane: name }));
  }

  polygon(geometry, options) {
    const polygons = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
    return L.polygon(polygons.map((rings) => rings.map((ring) => ring.map((point) => this.at(point)))), options);
  }

  candidates(rows, stateOf) {
    this.drawn = new Map();
    const common = { renderer: this.renderers.rows, bubblingMouseEvents: false }; // a click on the map itself asks what is alike
    for (const row of rows) {
      const shape = this.polygon(row.geometry, { ...common, ...this.looks(stateOf(row)) });
      this.drawn.set(row, shape.on("click", () => this.onPick(row)));
    }
    this.add("rows", L.layerGroup([...this.drawn.values()]));
  }

  looks(state) {
    const color = this.common.colours[state] ?? this.common.colours.unsure;
    return { color, weight: 2.5, dashArray: state === "reject" ? "5 4" : null, fillColor: color, fillOpacity: 0.12 };
  }

  mark(row, state) {
    this.drawn.get(row)?.setStyle(this.looks(state));
    const color = this.common.colours[state] ?? this.common.colours.unsure;
    const common = { renderer: this.renderers.selected, interactive: false, fill: false };
    this.add("selected", L.layerGroup([
      this.polygon(row.geometry, { ...common, color: "#111111", weight: 7 }),
      this.polygon(row.geometry, { ...common, color, weight: 4 }),
    ]));
  }

  // Move to a candidate: all of it, and ground around it.
  visit(row) {
    this.look(this.polygon(row.geometry).getBounds());
  }

  look(bounds) {
    this.map.fitBounds(bounds.pad(1.2), { animate: false, maxZoom: Math.log2(3 / this.area.transform[0]) });
  }

  visible(pane, shown) {
    this.map.getPane(pane).style.display = shown ? "" : "none";
  }

  // Left of the border one pane, right of it the other.
  clip() {
    const size = this.map.getSize();
    const { x, y } = this.map.containerPointToLayerPoint([0, 0]);
    const middle = x + size.x * this.border;
    const box = (from, to) =>
      `polygon(${from}px ${y}px, ${to}px ${y}px, ${to}px ${y + size.y}px, ${from}px ${y + size.y}px)`;
    this.map.getPane("left").style.clipPath = box(x, middle);
    this.map.getPane("right").style.clipPath = box(middle, x + size.x);
  }

  // What lies below the pointer.
  read(point) {
    if (!this.codes) return this.tell("");
    const { transform, shape } = this.area;
    const column = point.lng / transform[0] / shape[1];
    const row = point.lat / transform[4] / shape[0];
    if (column < 0 || row < 0 || column >= 1 || row >= 1) return this.tell("");
    const value = ({ codes, width, height, steps, top }) => {
      const code = codes[Math.floor(row * height) * width + Math.floor(column * width)];
      return code ? (((code - 1) / steps) * top).toFixed(2) : "none";
    };
    const [east, north] = [point.lng + transform[2], point.lat + transform[5]].map((metres) => metres.toFixed(0));
    return this.tell(`${east} E, ${north} N · probability ${value(this.codes.probability)} · uncertainty ${value(this.codes.uncertainty)}`);
  }

  tell(text) {
    document.getElementById("readout").textContent = text;
  }
}
