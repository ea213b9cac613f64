// The page: which area is shown, what the controls do, and the keys.
"use strict";

const dataOf = (kind) => [...document.querySelectorAll(`script[data-kind="${kind}"]`)].map((node) => JSON.parse(node.textContent));

const COMMON = dataOf("common")[0];
const AREAS = dataOf("area");
const STORAGE = storageOf(window);
const ALL = new Map(); // decisions by area, so that those not kept by the browser outlast a look at another area

let decisions = null;

const ground = new Ground(COMMON, (row) => {
  alike.open(-1);
  panel.pick(panel.rows.indexOf(row));
});
const alike = new Alike(ground, said);
const panel = new Panel(COMMON, {
  opened: (rows, stateOf) => ground.candidates(rows, stateOf),
  selected(row, state, visit) {
    if (!row) return ground.remove("selected");
    ground.mark(row, state);
    if (visit) ground.visit(row);
    return undefined;
  },
  decided: (row, state) => ground.mark(row, state),
  counted(answered) {
    element("save").disabled = !answered;
    warn();
  },
  said,
});

function said(text, lasting = "") {
  element("message").replaceChildren(text, ...(lasting ? [" ", made("code", { text: lasting })] : []));
}

// Whether decisions would be lost with the page.
const atRisk = () => [...ALL.values()].some((each) => !each.storage && !each.saved);

function warn() {
  element("save").classList.toggle("risk", atRisk());
  element("kept").textContent = decisions.storage
    ? "Decisions and notes are kept in this browser, for this area and these networks, until you save them as a file."
    : "This browser keeps nothing for pages from disk: save before you close the page.";
}

function save() {
  if (!decisions.answered().length) return said("Nothing is decided yet.");
  const text = JSON.stringify(decisions.geojson(COMMON.columns));
  const link = made("a", { download: "review.geojson" });
  link.href = URL.createObjectURL(new Blob([text], { type: "application/geo+json" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  decisions.saved = true;
  warn();
  return said(`Saved ${decisions.answered().length} answers. Now run`, commandFor(decisions.area.name));
}

async function show(area) {
  if (!ALL.has(area)) ALL.set(area, new Decisions(area, STORAGE));
  element("facts").textContent = `${area.crs_name} · ${area.shape[1]} x ${area.shape[0]} pixels of ${area.transform[0]} m`;
  element("inventory-choice").hidden = !area.outlines.inventory;
  element("rows-choice").hidden = !area.rows.length;
  alike.open(-1);
  said("Reading the rasters…");
  if (!(await ground.show(area))) return;
  decisions = ALL.get(area);
  said(decisions.storage ? "Press ? for the keys." : "This browser keeps nothing for pages from disk: save before you close the page.");
  for (const side of ["left", "right"]) chooseRaster(side);
  element("threshold-reset").textContent = `as delivered: ${area.thresholds.elsewhere}`;
  element("threshold-reset").title = `On the ground of the folds: ${area.thresholds.by_fold.join(", ")}`;
  resetThreshold();
  panel.show(area, decisions);
}

function chooseRaster(side) {
  const name = element(side).value;
  ground.raster(side, name);
  element(`${side}-name`).replaceChildren(name, ...legend(name));
}

// What the colours of a raster mean.
function legend(name) {
  if (!(name in COMMON.ramps)) return [];
  const bar = made("i", { class: "ramp" });
  bar.style.background = `linear-gradient(to right, ${COMMON.ramps[name].map(([at, colour]) => `${colour} ${100 * at}%`).join(", ")})`;
  return [made("span", { text: "0" }), bar, made("span", { text: ground.area.rasters[name].top })];
}

function resetThreshold() {
  element("threshold").value = ground.area.thresholds.elsewhere;
  cut();
}

let waiting = false;

// At most once a frame, however fast the slider moves.
function cut() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    if (!ground.codes) return; // of another area, which is still being read
    const threshold = Number(element("threshold").value);
    const { share, m2 } = ground.cut(threshold, element("show-cut").checked);
    element("threshold-value").textContent = threshold.toFixed(3);
    element("threshold-area").textContent = `${sized(m2)}, ${(100 * share).toFixed(1)} % of the map`;
  });
}

function moveBorder(share) {
  ground.border = Math.min(1, Math.max(0, share));
  element("divider").style.left = `${100 * ground.border}%`;
  element("divider").setAttribute("aria-valuenow", Math.round(100 * ground.border));
  ground.clip();
}

function toggle(id) {
  element(id).click();
}

const KEYS = {
  j: ["next candidate; also arrow down", () => panel.step(1)],
  k: ["candidate before; also arrow up", () => panel.step(-1)],
  a: ["accept", () => panel.decide("accept")],
  r: ["reject", () => panel.decide("reject")],
  u: ["unsure", () => panel.decide("unsure")],
  z: ["take the last decision back", () => panel.undo()],
  n: ["write a note; Escape leaves it", () => element("note").focus()],
  s: ["save review.geojson", save],
  m: ["outlines of the map on and off", () => toggle("show-mapped")],
  i: ["outlines of the inventory on and off", () => toggle("show-inventory")],
  c: ["candidates on the map on and off", () => toggle("show-rows")],
  t: ["ground from the threshold on, on and off", () => toggle("show-cut")],
  l: ["landslides that look like the one in the middle of the map; a click on one does the same", () => alike.middle()],
  f: ["the whole area", () => ground.map.fitBounds(ground.bounds, { animate: false })],
  "?": ["this list", () => element("help").showModal()],
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || element("help").open || !decisions) return;
  const { target } = event;
  if (target.id === "note") {
    if (event.key === "Escape") element("list").focus();
    return;
  }
  const arrows = !target.closest("#map, #divider, select, input[type=range]");
  const typed = event.key.toLowerCase();
  const key = arrows ? ({ arrowdown: "j", arrowup: "k" }[typed] ?? typed) : typed;
  if (target.closest("select") && key.length === 1) return; // letters choose there
  const layer = COMMON.layers[Number(key) - 1];
  if (!layer && !Object.hasOwn(KEYS, key)) return;
  event.preventDefault();
  if (layer) panel.open(layer);
  else KEYS[key][1]();
}

function listenDivider() {
  const divider = element("divider");
  const move = (event) => {
    const box = element("frame").getBoundingClientRect();
    moveBorder((event.clientX - box.left) / box.width);
  };
  divider.addEventListener("pointerdown", (event) => {
    divider.setPointerCapture(event.pointerId);
    event.preventDefault();
    divider.focus();
  });
  divider.addEventListener("pointermove", (event) => divider.hasPointerCapture(event.pointerId) && move(event));
  divider.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    moveBorder(ground.border + by);
  });
}

function listen() {
  document.addEventListener("keydown", onKey);
  listenDivider();
  element("area").addEventListener("change", (event) => show(AREAS[event.target.value]));
  for (const side of ["left", "right"]) element(side).addEventListener("change", () => chooseRaster(side));
  for (const pane of ["mapped", "inventory"]) {
    element(`show-${pane}`).addEventListener("change", (event) => ground.visible(pane, event.target.checked));
  }
  element("show-rows").addEventListener("change", (event) => ["rows", "selected"].forEach((pane) => ground.visible(pane, event.target.checked)));
  element("show-cut").addEventListener("change", cut);
  element("threshold").addEventListener("input", () => {
    element("show-cut").checked = true;
    cut();
  });
  element("threshold-reset").addEventListener("click", resetThreshold);
  element("save").addEventListener("click", save);
  element("help-open").addEventListener("click", KEYS["?"][1]);
  window.addEventListener("beforeunload", (event) => atRisk() && event.preventDefault());
}

function fill() {
  element("area").append(...AREAS.map((area, at) => made("option", { value: at, text: area.name })));
  for (const [side, chosen] of [["left", "image"], ["right", "probability"]]) {
    element(side).append(...RASTERS.map((name) => made("option", { value: name, text: name })));
    element(side).value = chosen;
  }
  element("keys").append(
    ...Object.entries(KEYS).flatMap(([key, [does]]) => [made("dt", {}, made("kbd", { text: key.toUpperCase() })), made("dd", { text: does })]),
    made("dt", {}, made("kbd", { text: "1" }), " to ", made("kbd", { text: "4" })), made("dd", { text: "the four kinds of candidates" }),
  );
  for (const [name, colour] of Object.entries(COMMON.colours)) document.documentElement.style.setProperty(`--${name}`, colour);
}

fill();
listen();
moveBorder(0.5);
show(AREAS[0]);
