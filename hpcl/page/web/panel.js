// The list of candidates, the selected one, and what is decided about it.
"use strict";

const ASKED = {
  omissions: { title: "Omissions", question: "The map has a landslide here and the inventory has none. Is there one?" },
  doubtful: { title: "Doubtful", question: "The inventory has a landslide here and the map does not support it. Is there none?" },
  outlines: { title: "Outlines", question: "Map and inventory have this landslide and draw it differently. Is the map's outline the better one?" },
  next: { title: "Next", question: "Nobody has mapped here, and mapping it would teach much. Is it worth your next hour?" },
};
const ANSWERS = {
  accept: { key: "A", sign: "✓", verb: "Accept", done: "accepted" },
  reject: { key: "R", sign: "✗", verb: "Reject", done: "rejected" },
  unsure: { key: "U", sign: "?", verb: "Unsure", done: "unsure" },
  redraw: { sign: "✎", done: "redrawn" },
};

const element = (id) => document.getElementById(id);

// An element with plain text in it: nothing that data say is ever read as markup.
function made(tag, { text = "", ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...(text === "" ? [] : [String(text)]), ...children);
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

function drawn(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

const stateOf = (answer) => (answer.decision in ANSWERS ? answer.decision : "open");
const percent = (share) => (share === null ? "" : `${Math.round(100 * share)} %`);

// An area with three digits, in square metres or kilometres.
function sized(m2) {
  const [value, unit] = m2 >= 1e6 ? [m2 / 1e6, "km²"] : [m2, "m²"];
  return `${Number(value.toPrecision(3)).toLocaleString("en")} ${unit}`;
}

// A path along an outline, in pixels of the area's grid.
function pathOf(geometry, transform) {
  const polygons = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
  const at = ([x, y]) => `${((x - transform[2]) / transform[0]).toFixed(1)} ${((y - transform[5]) / transform[4]).toFixed(1)}`;
  return polygons.flat().map((ring) => `M${ring.map(at).join("L")}Z`).join("");
}

class Panel {
  constructor(common, events) {
    this.common = common;
    this.events = events;
    for (const [decision, { key, sign, verb }] of Object.entries(ANSWERS)) {
      if (!verb) continue;
      const button = made("button", { type: "button", class: decision, "aria-keyshortcuts": key, "aria-pressed": "false" },
        made("span", { text: sign, "aria-hidden": "true" }), ` ${verb} `, made("kbd", { text: key }));
      button.addEventListener("click", () => this.decide(decision));
      element("decide").append(button);
    }
    const undo = made("button", { type: "button", class: "undo", "aria-keyshortcuts": "Z" }, "Undo ", made("kbd", { text: "Z" }));
    undo.addEventListener("click", () => this.undo());
    element("decide").append(undo);
    element("note").addEventListener("input", (event) => this.comment(event.target.value));
    element("list").addEventListener("click", (event) => this.pick(Number(event.target.closest("li")?.dataset.at ?? -1)));
  }

  show(area, decisions) {
    this.area = area;
    this.decisions = decisions;
    this.row = null;
    const counts = this.common.layers.map((layer) => area.rows.filter((row) => row.layer === layer).length);
    element("review").dataset.state = area.audited ? (area.rows.length ? "some" : "none") : "absent";
    element("layers").replaceChildren(...this.common.layers.map((layer, number) => this.tab(layer, number, counts[number])));
    const left = area.left_out;
    element("left-out").textContent = left ? `${left} more of lower rank are in data/audit/${area.name}/review.gpkg only.` : "";
    this.open(this.common.layers[Math.max(0, counts.findIndex((count) => count > 0))]);
  }

  tab(layer, number, count) {
    const button = made("button", { type: "button", role: "tab", "data-layer": layer, "aria-keyshortcuts": number + 1 },
      made("b", { text: ASKED[layer].title }), `${count} `, made("kbd", { text: number + 1 }));
    button.addEventListener("click", () => this.open(layer));
    return button;
  }

  // Turn to one of the four questions.
  open(layer) {
    this.layer = layer;
    this.rows = this.area.rows.filter((row) => row.layer === layer);
    for (const tab of element("layers").children) tab.setAttribute("aria-selected", tab.dataset.layer === layer);
    const pictured = this.rows.filter((row) => row.picture).length;
    const lacking = pictured < this.rows.length ? ` The first ${pictured} of ${this.rows.length} have a picture.` : "";
    element("question").textContent = this.area.audited
      ? ASKED[layer].question + lacking
      : `Nothing is asked here: there is no data/audit/${this.area.name}/review.gpkg.`;
    element("list").replaceChildren(...this.rows.map((row, at) => this.item(row, at)));
    this.events.opened(this.rows, (row) => stateOf(this.decisions.of(row)));
    this.count();
    const start = this.rows.findIndex((row) => !this.decisions.of(row).decision);
    this.select(start < 0 ? 0 : start, false);
  }

  item(row, at) {
    const item = made("li", { role: "option", id: `row-${at}`, "data-at": at, "aria-selected": "false" }, this.thumbnail(row),
      made("div", {},
        made("b", { text: `${row.rank}` }), " ", made("span", { class: "chance", text: percent(row.probability) }),
        made("span", { class: "state" }), made("p", { text: row.reason })));
    this.stamp(item, row);
    return item;
  }

  thumbnail(row) {
    const svg = drawn("svg", { class: "small", "aria-hidden": "true" });
    this.draw(svg, row);
    return svg;
  }

  // The picture of a candidate with its outline, and with the one of the inventory where the two are compared.
  draw(svg, row) {
    svg.replaceChildren();
    svg.classList.toggle("bare", !row.picture);
    if (!row.picture) return;
    const { url, left, top, width, height } = row.picture;
    svg.setAttribute("viewBox", `${left} ${top} ${width} ${height}`);
    svg.append(drawn("image", { href: url, x: left, y: top, width, height, preserveAspectRatio: "none" }));
    const line = (geometry, name) => {
      const d = pathOf(geometry, this.area.transform);
      svg.append(drawn("path", { d, class: "casing" }), drawn("path", { d, class: name }));
    };
    if (row.compared) line(row.compared, "inventory");
    line(row.geometry, stateOf(this.decisions.of(row)));
  }

  stamp(item, row) {
    const { decision, note } = this.decisions.of(row);
    const answer = ANSWERS[decision];
    item.dataset.state = stateOf({ decision });
    item.querySelector(".state").textContent = (answer ? `${answer.sign} ${answer.done}` : "") + (note ? " · note" : "");
    item.querySelector("path:last-child")?.setAttribute("class", stateOf({ decision }));
  }

  pick(at) {
    if (at >= 0) this.select(at, true);
  }

  select(at, visit) {
    element("list").querySelector("[aria-selected=true]")?.setAttribute("aria-selected", "false");
    this.at = at;
    this.row = this.rows[at] ?? null;
    element("card").hidden = !this.row;
    if (!this.row) return this.events.selected(null);
    const item = element(`row-${at}`);
    item.setAttribute("aria-selected", "true");
    element("list").setAttribute("aria-activedescendant", item.id);
    item.scrollIntoView({ block: "nearest" });
    this.describe(this.row);
    return this.events.selected(this.row, stateOf(this.decisions.of(this.row)), visit);
  }

  describe(row) {
    const answer = this.decisions.of(row);
    element("name").textContent = `${ASKED[row.layer].title}, ${row.rank} of ${this.rows.length}`;
    element("chance").textContent = row.probability === null ? "" : `${percent(row.probability)} likely to be right`;
    element("reason").textContent = row.reason;
    const landslide = row.inventory_id ? ` · landslide ${row.inventory_id} of the inventory` : "";
    element("numbers").textContent = `${row.area_m2 === null ? "" : sized(row.area_m2)}${landslide}`;
    element("note").value = answer.note;
    for (const button of element("decide").querySelectorAll("[aria-pressed]")) {
      button.setAttribute("aria-pressed", button.classList.contains(answer.decision || "none"));
    }
    this.draw(element("picture"), row);
  }

  step(by) {
    if (this.rows.length) this.select(Math.min(this.rows.length - 1, Math.max(0, this.at + by)), true);
  }

  decide(decision) {
    if (!this.row) return;
    this.decisions.decide(this.row, decision);
    this.refresh(`${this.row.rank} of ${ASKED[this.layer].title.toLowerCase()}: ${ANSWERS[decision].done}.`);
    const open = (row) => !this.decisions.of(row).decision;
    const after = this.rows.findIndex((row, at) => at > this.at && open(row));
    const next = after < 0 ? this.rows.findIndex(open) : after;
    if (next >= 0) this.select(next, true);
  }

  comment(note) {
    if (!this.row) return;
    this.decisions.comment(this.row, note);
    this.stamp(element(`row-${this.at}`), this.row);
    this.count();
  }

  undo() {
    const row = this.decisions.undo();
    if (!row) return this.events.said("There is nothing to take back.");
    if (row.layer !== this.layer) this.open(row.layer);
    this.select(this.rows.indexOf(row), true);
    return this.refresh(`${row.rank} of ${ASKED[row.layer].title.toLowerCase()}: taken back.`);
  }

  // Show what the selected row's answer is now.
  refresh(said) {
    this.stamp(element(`row-${this.at}`), this.row);
    this.describe(this.row);
    this.count();
    this.events.decided(this.row, stateOf(this.decisions.of(this.row)));
    this.events.said(said);
  }

  count() {
    const decided = this.rows.filter((row) => this.decisions.of(row).decision).length;
    element("progress").textContent = this.rows.length ? `${decided} of ${this.rows.length} decided` : "Nothing is asked here.";
    this.events.counted(this.decisions.answered().length);
  }
}
