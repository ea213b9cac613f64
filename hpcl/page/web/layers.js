// Layers that Leaflet does not have: a canvas as a picture, and thousands of outlines.
"use strict";

const CanvasOverlay = L.ImageOverlay.extend({
  _initImage() {
    this._image = this._url;
    L.DomUtil.addClass(this._image, "leaflet-image-layer");
  },
});

// Outlines that are only looked at. Leaflet's own lines would each be projected again at every zoom, in sight or not.
const Rings = L.Layer.extend({
  margin: 0.3, // of the view, around it, so that a drag uncovers nothing at once

  // Rings as column, row, column, row... in tenths of a pixel; a pixel in metres, east and north.
  initialize(rings, { pixel, colour, pane }) {
    this.options = { pane };
    this.colour = colour;
    this.rings = rings.map((ring) => {
      const points = Float64Array.from(ring, (tenths, i) => (tenths / 10) * pixel[i % 2]);
      const [xs, ys] = [points.filter((_, i) => i % 2 === 0), points.filter((_, i) => i % 2)];
      return { points, west: xs.reduce(lesser), east: xs.reduce(greater), south: ys.reduce(lesser), north: ys.reduce(greater) };
    });
  },

  onAdd(map) {
    this.canvas = L.DomUtil.create("canvas", "", map.getPane(this.options.pane));
    this.canvas.style.position = "absolute";
    this.draw();
  },

  onRemove() {
    this.canvas.remove();
  },

  getEvents() {
    return { moveend: this.draw, zoomend: this.draw, viewreset: this.draw, resize: this.draw };
  },

  draw() {
    const map = this._map;
    const sharp = window.devicePixelRatio || 1;
    const size = map.getSize();
    const corner = map.containerPointToLayerPoint(size.multiplyBy(-this.margin)).round();
    const [width, height] = [size.x, size.y].map((side) => Math.ceil(side * (1 + 2 * this.margin)));
    Object.assign(this.canvas, { width: width * sharp, height: height * sharp });
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    L.DomUtil.setPosition(this.canvas, corner);
    const scale = 2 ** map.getZoom(); // screen pixels of a metre
    const { x, y } = map.latLngToLayerPoint([0, 0]).subtract(corner);
    const path = new Path2D();
    for (const ring of this.rings) {
      const seen = ring.east * scale + x > 0 && ring.west * scale + x < width && y - ring.north * scale < height && y - ring.south * scale > 0;
      if (seen) trace(path, ring.points, scale, x, y);
    }
    const context = this.canvas.getContext("2d");
    context.scale(sharp, sharp);
    for (const [colour, thickness] of [["rgb(255 255 255 / .85)", 3.5], [this.colour, 1.8]]) {
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      context.lineJoin = "round";
      context.stroke(path);
    }
  },
});

const lesser = (one, other) => Math.min(one, other);
const greater = (one, other) => Math.max(one, other);

function trace(path, points, scale, x, y) {
  path.moveTo(points[0] * scale + x, y - points[1] * scale);
  for (let i = 2; i < points.length; i += 2) path.lineTo(points[i] * scale + x, y - points[i + 1] * scale);
}
