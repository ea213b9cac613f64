// Decisions about one area: kept by the browser where it lets us, and written as review.geojson.
"use strict";

const DECISIONS = ["accept", "reject", "unsure"];

const keyOf = (row) => `${row.layer} ${row.id}`;

// A browser may deny storage, above all to files from disk; it may also be full.
function storageOf(place) {
  try {
    const storage = place.localStorage;
    storage.setItem("hpcl", "");
    storage.removeItem("hpcl");
    return storage;
  } catch {
    return null;
  }
}

class Decisions {
  constructor(area, storage) {
    this.area = area;
    this.storage = storage;
    this.place = `hpcl review ${JSON.stringify([area.name, area.weights])}`;
    this.given = new Map(area.rows.map((row) => [keyOf(row), { decision: row.decision, note: row.note }]));
    this.changed = this.kept();
    this.past = [];
    this.saved = this.changed.size === 0;
  }

  of(row) {
    return this.changed.get(keyOf(row)) ?? this.given.get(keyOf(row));
  }

  decide(row, decision) {
    this.past.push({ row, before: this.of(row).decision });
    this.set(row, { ...this.of(row), decision });
  }

  comment(row, note) {
    this.set(row, { ...this.of(row), note });
  }

  // The row whose last decision was taken back.
  undo() {
    const last = this.past.pop();
    if (last) this.set(last.row, { ...this.of(last.row), decision: last.before });
    return last?.row;
  }

  set(row, answer) {
    this.changed.set(keyOf(row), answer);
    this.saved = false;
    this.keep();
  }

  keep() {
    try {
      this.storage?.setItem(this.place, JSON.stringify([...this.changed]));
    } catch {
      this.storage = null;
    }
  }

  // What an earlier visit left. Anything may have written there, so only answers to rows of this page are taken.
  kept() {
    let entries;
    try {
      entries = JSON.parse(this.storage?.getItem(this.place) ?? "[]");
    } catch {
      return new Map();
    }
    const sound = ([key, answer]) =>
      this.given.has(key) && ["", ...DECISIONS].includes(answer?.decision) && typeof answer?.note === "string";
    const pairs = Array.isArray(entries) ? entries.filter((entry) => Array.isArray(entry) && sound(entry)) : [];
    return new Map(pairs.map(([key, { decision, note }]) => [key, { decision, note }]));
  }

  answered() {
    return this.area.rows.filter((row) => this.of(row).decision || this.of(row).note);
  }

  geojson(columns) {
    const features = this.answered().map((row) => ({
      type: "Feature",
      properties: {
        layer: row.layer,
        ...Object.fromEntries(columns.map((name) => [name, row[name]])),
        ...this.of(row),
      },
      geometry: row.geometry,
    }));
    const crs = this.area.crs ? { crs: { type: "name", properties: { name: this.area.crs } } } : {};
    return { type: "FeatureCollection", area: this.area.name, ...crs, features };
  }
}

// The command that reads the file; its line can be pasted into a shell whatever the area is called.
function commandFor(name) {
  const word = /^[\w.-]+$/.test(name) ? name : `'${name.replaceAll("'", `'\\''`)}'`;
  return `python -m stages.review ${word} ~/Downloads/review.geojson`;
}
