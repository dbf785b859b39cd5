"use strict";
// Quality against latency or bytes: a point per row, its interval, and the Pareto front.

const SVG = "http://www.w3.org/2000/svg";
// Okabe and Ito's colours, told apart by colour-blind readers; the form changes after eight cards.
const COLOURS = 8;
const FORMS = [
  "M0-5A5 5 0 1 1 0 5A5 5 0 1 1 0-5Z",
  "M-4.5-4.5H4.5V4.5H-4.5Z",
  "M0-6L5.6 4.4H-5.6Z",
  "M0-6L6 0L0 6L-6 0Z",
  "M0 6L5.6-4.4H-5.6Z",
  "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
];
const DASHES = ["none", "6 4", "2 3", "9 3 2 3"];
const MOST_MARKS = 300;
const CARD_ORDER = new Map([...byCard.keys()].sort().map((sha, index) => [sha, index]));

function svg(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function glyph(sha) {
  const index = CARD_ORDER.get(sha);
  return { form: FORMS[Math.floor(index / COLOURS) % FORMS.length], colour: `hue${index % COLOURS}` };
}

function glyphIcon(sha) {
  const { form, colour } = glyph(sha);
  return svg("svg", { class: "glyph", viewBox: "-7 -7 14 14", "aria-hidden": "true" }, svg("path", { d: form, class: colour }));
}

// Not dominated: no other point is both at most as dear and at least as good, and better in one.
function front(points) {
  const order = [...points].sort((a, b) => a.x - b.x || b.y - a.y);
  const kept = [];
  let best = -Infinity;
  for (const point of order) if (point.y > best) { kept.push(point); best = point.y; }
  return kept;
}

// [front, number of rows] of every group that may be compared. Timings compare on one machine, and
// the latency of an image says nothing of re-ranking, so there re-ranked rows are no rivals of others.
function frontsOf(points, x) {
  const groups = new Map();
  for (const point of points) {
    const { group, machine, rerank } = point.row;
    const key = [group, x === "bytes" ? "" : machine, x === "latency" ? rerank : ""].join("|");
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(point);
  }
  return [...groups.values()].map((group) => [front(group), group.length]);
}

function niceTicks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + 1e-9; tick += step) ticks.push(Number(tick.toPrecision(12)));
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const factor of [1, 2, 5]) ticks.push(Number((factor * 10 ** power).toPrecision(3)));
  }
  const inside = ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  const round = inside.filter((tick) => /^10*$/.test(String(tick).replace(/^0\.0*/, "")));
  if (inside.length < 3) return niceTicks(low, high, 5).filter((tick) => tick > 0);
  return inside.length > 8 && round.length > 1 ? round : inside;
}

function shortNumber(value) {
  return THREE_DIGITS.format(value);
}

function drawPlot(place, rows, column, state, open) {
  const [label, costOf] = COSTS[state.x];
  const possible = rows.map((row) => ({
    row, x: costOf(row), y: column.value(row),
  })).filter((point) => point.x > 0 && point.y !== null && !point.row.partial);
  // Random weights and chance would stretch the axis until nothing else can be told apart.
  const serious = possible.filter((point) => !point.row.marks.length);
  const points = serious.length ? serious : possible;
  const missing = rows.length - points.length;
  place.hidden = points.length === 0;
  if (place.hidden) { place.replaceChildren(); return; }
  const width = Math.max(280, Math.min(place.clientWidth, 1200));
  const height = Math.round(Math.min(380, Math.max(240, width * 0.42)));
  const edge = { left: 44, right: 14, top: 12, bottom: 40 };
  const xs = points.map((point) => point.x);
  const scores = points.map((point) => scoreOf(point.row, column.protocol, column.metric));
  const lows = scores.map((score) => score[1] ?? score[0]);
  const highs = scores.map((score) => score[2] ?? score[0]);
  const least = (list) => list.reduce((a, b) => Math.min(a, b));
  const most = (list) => list.reduce((a, b) => Math.max(a, b));
  const [x0, x1] = [least(xs) / 1.25, most(xs) * 1.25];
  const margin = Math.max(1, (most(highs) - least(lows)) * 0.05);
  const [y0, y1] = [Math.max(0, least(lows) - margin), Math.min(100.5, most(highs) + margin)];
  const right = width - edge.right;
  const bottom = height - edge.bottom;
  const toX = (x) => edge.left + (Math.log(x / x0) / Math.log(x1 / x0)) * (right - edge.left);
  const toY = (y) => bottom - ((y - y0) / (y1 - y0)) * (bottom - edge.top);

  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": `${column.title} against ${label}` });
  for (const tick of niceTicks(y0, y1, 5)) {
    drawing.append(
      svg("line", { class: "grid", x1: edge.left, x2: right, y1: toY(tick), y2: toY(tick) }),
      svg("text", { class: "tick", x: edge.left - 7, y: toY(tick) + 4, "text-anchor": "end" }, String(tick)));
  }
  for (const tick of logTicks(x0, x1)) {
    drawing.append(
      svg("line", { class: "grid", x1: toX(tick), x2: toX(tick), y1: edge.top, y2: bottom }),
      svg("text", { class: "tick", x: toX(tick), y: bottom + 16, "text-anchor": "middle" }, shortNumber(tick)));
  }
  drawing.append(svg("text", { class: "axis", x: right, y: height - 6, "text-anchor": "end" }, `${label} →`));
  drawing.append(svg("path", {
    class: "whiskers",
    d: points.map((point, i) => `M${toX(point.x).toFixed(1)} ${toY(lows[i]).toFixed(1)}V${toY(highs[i]).toFixed(1)}`).join(""),
  }));

  const fronts = frontsOf(points, state.x);
  fronts.filter(([, of]) => of > 1).forEach(([edgePoints], i) => drawing.append(svg("path", {
    class: "front", "stroke-dasharray": DASHES[i % DASHES.length],
    d: edgePoints.map((point, j) => (j ? `H${toX(point.x).toFixed(1)}V${toY(point.y).toFixed(1)}` : `M${toX(point.x).toFixed(1)} ${toY(point.y).toFixed(1)}`)).join("") + `H${right}`,
  })));
  drawPoints(drawing, points, { toX, toY, right, edge, width }, new Set(fronts.flatMap(([edgePoints]) => edgePoints)), open, place);

  const cards = new Set(points.map((point) => point.row.card));
  const timed = state.x === "bytes" ? "" : " and timed on one machine";
  const note = fronts.length > 1
    ? `${fronts.length} groups of rows in view were each scored under the same rules${timed}; a line is the Pareto front of one group, and rows of different groups must not be compared.`
    : "The line is the Pareto front.";
  const form = cards.size > 1 ? " Form and colour are those of the card." : " All points are of one card.";
  place.querySelector(".canvas").replaceChildren(drawing);
  const left = missing ? ` Not drawn: ${missing} of the rows in view (untrained, chance, partial, or without such a value).` : "";
  place.querySelector(".note").textContent = note + form + left;
}

// Very many points: one path per colour, and the nearest point answers the pointer.
function drawCrowd(drawing, crowd, to, show, open) {
  const paths = new Map();
  const placed = crowd.map((point) => [to.toX(point.x), to.toY(point.y), point]);
  for (const [x, y, point] of placed) {
    const { colour } = glyph(point.row.card);
    paths.set(colour, `${paths.get(colour) || ""}M${x.toFixed(1)} ${y.toFixed(1)}h0`);
  }
  drawing.append(...[...paths].map(([colour, d]) => svg("path", { class: `crowd ${colour}`, d })));
  const nearest = (event) => {
    const box = drawing.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let [found, least] = [null, 144];
    for (const [x, y, point] of placed) {
      const distance = (x - px) ** 2 + (y - py) ** 2;
      if (distance < least) [found, least] = [point, distance];
    }
    return found;
  };
  const onMark = (event) => event.target.classList.contains("point");
  drawing.addEventListener("pointermove", (event) => {
    if (onMark(event)) return;
    const point = nearest(event);
    show(point, Boolean(point));
  });
  drawing.addEventListener("click", (event) => {
    const point = onMark(event) ? null : nearest(event);
    if (point) open(point.row);
  });
}

function drawPoints(drawing, points, to, onFront, open, place) {
  const tip = place.querySelector(".tip");
  const taken = [];
  const layer = svg("g", {});
  const names = svg("g", { class: "names", "aria-hidden": "true" });
  const show = (point, shown) => {
    tip.hidden = !shown;
    if (!shown) return;
    const score = point.row;
    tip.replaceChildren();
    const marks = score.marks.length ? ` (${score.marks.join(", ")})` : "";
    const bold = document.createElement("b");
    bold.textContent = score.name + marks + score.stages;
    tip.append(bold, ` ${point.y.toFixed(2)} % · ${shortNumber(point.x)} · card ${score.card.slice(0, 8)}`);
    const left = Math.min(Math.max(to.toX(point.x) - 40, 0), Math.max(0, to.width - tip.offsetWidth));
    tip.style.left = `${left}px`;
    const above = to.toY(point.y) - tip.offsetHeight - 12;
    tip.style.top = `${above > 0 ? above : to.toY(point.y) + 12}px`;
  };
  // One stop for the Tab key; the arrows go from point to point, from left to right.
  const crowd = points.length > MOST_MARKS ? points.filter((point) => !onFront.has(point)) : [];
  const order = points.filter((point) => !crowd.length || onFront.has(point)).sort((a, b) => a.x - b.x || a.y - b.y);
  if (crowd.length) drawCrowd(drawing, crowd, to, show, open);
  const marks = order.map((point, index) => {
    const { form, colour } = glyph(point.row.card);
    const mark = svg("path", {
      d: form, class: `point ${colour}`, role: "button", tabindex: index ? "-1" : "0",
      transform: `translate(${to.toX(point.x).toFixed(1)} ${to.toY(point.y).toFixed(1)})`,
      "aria-label": `${point.row.name} ${point.row.marks.join(" ")}: ${point.y.toFixed(2)} %, ${shortNumber(point.x)}, card ${point.row.card.slice(0, 8)}`,
    });
    mark.dataset.index = index;
    return mark;
  });
  layer.append(...marks);
  const at = (event) => event.target.dataset && event.target.dataset.index;
  for (const kind of ["pointerover", "focusin"]) layer.addEventListener(kind, (event) => { if (at(event)) show(order[at(event)], true); });
  for (const kind of ["pointerout", "focusout"]) layer.addEventListener(kind, () => { tip.hidden = true; });
  layer.addEventListener("click", (event) => { if (at(event)) open(order[at(event)].row); });
  layer.addEventListener("keydown", (event) => {
    const index = Number(at(event));
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(order[index].row); return; }
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = marks[(index + step + marks.length) % marks.length];
    marks[index].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
  // Names of the front first, then of the others, wherever they cover nothing.
  for (const point of points) taken.push([to.toX(point.x) - 6, to.toY(point.y) - 6, to.toX(point.x) + 6, to.toY(point.y) + 6]);
  const named = points.length > 60 ? [...onFront] : [...onFront, ...order.filter((point) => !onFront.has(point))];
  for (const point of named) {
    const { name, stages } = point.row;
    const text = (name.length > 34 ? `${name.slice(0, 33)}…` : name) + stages;
    const wide = text.length * 6.4;
    for (const [dx, dy, anchor] of [[9, 4, "start"], [-9, 4, "end"], [0, -10, "middle"], [0, 18, "middle"]]) {
      const x = to.toX(point.x) + dx;
      const from = anchor === "start" ? x : anchor === "end" ? x - wide : x - wide / 2;
      const box = [from, to.toY(point.y) + dy - 11, from + wide, to.toY(point.y) + dy + 3];
      const free = box[0] > to.edge.left && box[2] < to.right && box[1] > 0
        && taken.every((other) => box[2] < other[0] || box[0] > other[2] || box[3] < other[1] || box[1] > other[3]);
      if (!free) continue;
      taken.push(box);
      names.append(svg("text", { x, y: to.toY(point.y) + dy, "text-anchor": anchor }, text));
      break;
    }
  }
  drawing.append(names, layer);
}
