"use strict";
// The page itself: filters, table, published rows, keys, and the address that keeps the view.

let state = readState();
let limit = AT_ONCE;
let inView = [];
const $ = (id) => document.getElementById(id);

function set(changes, keep) {
  state = { ...state, ...changes };
  if (!keep) limit = AT_ONCE;
  const hash = stateAsHash(state);
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  render();
}

function choice(name, label, options, title) {
  const box = el("select", { id: `f-${name}`, name, title, onchange: (event) => {
    const reset = name === "data" ? OF_A_DATASET : {};
    set({ ...reset, [name]: event.target.value });
    $(`f-${name}`).focus();
  } }, ...options.map(([value, text]) => el("option", { value, selected: value === state[name] }, text)));
  return el("label", { class: `field ${options.length < 3 && !state[name] ? "single" : ""}` }, el("span", {}, label), box);
}

function facetOptions(key) {
  const rows = DATA.rows.filter((row) => row.dataset === state.data);
  const counts = count(rows.map((row) => row[key]));
  const options = [...counts].sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([value, number]) => [value, `${key === "card" ? value.slice(0, 8) : value} (${number})`]);
  if (state[key] && !counts.has(state[key])) options.push([state[key], `${state[key].slice(0, 40)} (0)`]);
  return [["", "all"], ...options];
}

function field(name, label, title) {
  return el("label", { class: "field bound", title }, el("span", {}, label), el("input", { id: `f-${name}`, type: "number", min: "0", step: "any", inputmode: "decimal", value: state[name], onchange: (event) => {
    set({ [name]: event.target.value });
    $(`f-${name}`).focus();
  } }));
}

function columnChooser(rows) {
  const chosen = chosenColumns(state, rows);
  const old = document.querySelector("#columns");
  const toggle = (key, on) => set({ cols: (on ? [...chosen, key] : chosen.filter((each) => each !== key)).join(",") || "none" });
  const n = Number(state.n);
  const size = el("input", { id: "f-n", type: "range", min: "3", max: "9", step: "0.25", value: String(Math.log10(n)), "aria-label": "number of images in the index",
    oninput: (event) => { event.target.nextElementSibling.textContent = WHOLE.format(Math.round(10 ** Number(event.target.value))); },
    onchange: (event) => { set({ n: String(Math.round(10 ** Number(event.target.value))), cols: chosen.includes("size") ? state.cols : [...chosen, "size"].join(",") }); $("f-n").focus(); } });
  return el("details", { id: "columns", class: "chooser", open: Boolean(old && old.open) }, el("summary", {}, "Columns"),
    el("div", { class: "choices" },
      ...FIXED.filter((column) => column.key !== "name").map((column) => el("label", { title: column.title }, el("input", { type: "checkbox", "data-column": column.key, checked: chosen.includes(column.key), onchange: (event) => {
        toggle(column.key, event.target.checked);
        const again = document.querySelector(`[data-column="${column.key}"]`);
        if (again) again.focus();
      } }), column.label === "#" ? "rank" : column.label)),
      el("label", { class: "slider" }, "at N images: ", size, el("output", {}, WHOLE.format(n)))));
}

function renderFilters(rows, columns, column) {
  const form = $("filters");
  const typed = $("f-q");
  const search = typed || el("input", { id: "f-q", type: "search", placeholder: "method, weights, card …", autocomplete: "off", spellcheck: "false",
    oninput: (event) => set({ q: event.target.value }) });
  if (search.value !== state.q) search.value = state.q;
  const protocols = [["", "all"], ...protocolsOf(state).map((name) => [name, name])];
  if (state.protocol && !protocols.some(([name]) => name === state.protocol)) protocols.push([state.protocol, state.protocol]);
  const more = document.querySelector("#more-filters");
  const active = [...FACETS, ...BOUNDS].filter(([key]) => state[key]).length;
  const made = [
    choice("data", "Data set", DATASETS.map((name) => [name, `${name} (${MEASURED.get(name) || "published only"})`])),
    choice("protocol", "Protocol", protocols),
    el("label", { class: "field narrow-only" }, el("span", {}, "Sort by"), el("select", { id: "f-sort", onchange: (event) => set({ sort: event.target.value, order: "" }) },
      ...columns.map((each) => el("option", { value: each.key, selected: each === column }, each.label)))),
    el("details", { id: "more-filters", class: "chooser", open: Boolean(more && more.open) }, el("summary", {}, active ? `Filters (${active})` : "Filters"),
      el("div", { class: "choices" }, ...FACETS.map(([key, label, title]) => choice(key, label, facetOptions(key), title)),
        ...BOUNDS.map(([key, label, title]) => field(key, label, title)),
        el("label", { class: "check" }, el("input", { id: "f-group", type: "checkbox", checked: state.group === "yes", onchange: (event) => set({ group: event.target.checked ? "yes" : "no" }) }), "group by protocol"))),
    columnChooser(rows),
    el("button", { type: "button", id: "clear", disabled: !anyFilter(), onclick: clear }, "Clear"),
    el("button", { type: "button", id: "take-csv", title: "the rows in view as CSV", onclick: () => download(`${state.data}.csv`, asCsv(inView, columns), "text/csv") }, "CSV"),
    el("button", { type: "button", id: "take-latex", title: "the rows in view as a LaTeX table", onclick: () => download(`${state.data}.tex`, asLatex(inView, columns), "application/x-tex") }, "LaTeX"),
  ];
  const old = [...form.children].filter((child) => !child.contains(search));
  for (const child of old) child.remove();
  if (!typed) form.append(el("label", { class: "field wide" }, el("span", {}, "Search"), search));
  form.append(...made);
}

function anyFilter() {
  return ["protocol", "q", ...FACETS.map(([key]) => key), ...BOUNDS.map(([key]) => key)].some((key) => state[key]);
}

function clear() {
  set({ protocol: "", q: "", ...unset([...FACETS, ...BOUNDS]) });
  $("f-q").focus();
}

function render() {
  const rows = filtered(state);
  const columns = columnsOf(rows, state);
  const column = sortColumn(columns, state);
  placeRows(rows, column.kind === "score" ? column : sortColumn(columns, { ...state, sort: "" }));
  renderFilters(rows, columns, column);
  const ordered = sorted(rows, column, state);
  const groups = state.group === "yes" ? grouped(ordered) : [{ group: null, rows: ordered }];
  inView = groups.flatMap((group) => group.rows);
  const total = MEASURED.get(state.data) || 0;
  $("status").textContent = `${WHOLE.format(rows.length)} of ${WHOLE.format(total)} measured rows of ${state.data}`;
  renderOverview(state, (name) => { set({ data: name, ...OF_A_DATASET }); $("f-data").focus(); });
  renderPins(state, columns, pin);
  renderCards(rows);
  renderTable(groups, columns, column, total);
  renderPlot(rows, columns, column);
  renderPublished();
}

function renderCards(rows) {
  const cards = [...new Set(rows.map((row) => row.card))].sort();
  const place = $("cards");
  if (cards.length < 2) { place.replaceChildren(); return; }
  const open = Boolean(place.querySelector("details[open]"));
  const body = el("div", { class: "differences" });
  const fill = () => {
    if (body.firstChild) return;
    const some = cards.slice(0, 40);
    if (some.length < cards.length) body.append(el("p", {}, `Of ${cards.length} cards the first 40 are compared; choose fewer with the filters.`));
    body.append(el("dl", {}, ...whatDiffers(some).map(([name, values]) => el("div", {}, el("dt", {}, name), el("dd", {},
      ...[...values].slice(0, 12).map(([value, list]) => el("p", {}, /^[0-9a-f]{64}$/.test(value) ? `${value.slice(0, 8)}…` : value, " ", ...list.slice(0, 12).map(chip), list.length > 12 ? ` and ${list.length - 12} more` : null)))))));
  };
  const toggle = el("details", { open, ontoggle: () => fill() },
    el("summary", {}, el("b", {}, `${cards.length} protocol cards in view.`),
      state.group === "yes"
        ? " Rows under one heading were scored under the same protocol. What differs"
        : " The order below runs across protocols: it compares scores made under different rules. What differs"), body);
  if (open) fill();
  place.replaceChildren(toggle);
  place.classList.toggle("across", state.group !== "yes");
}

function heading(column, chosen) {
  const down = descending(column, state);
  const active = column === chosen;
  const press = () => {
    set(active ? { sort: column.key, order: down ? "asc" : "desc" } : { sort: column.key, order: "" });
    const again = document.querySelector(`th[data-key="${CSS.escape(column.key)}"] button`);
    if (again) again.focus();
  };
  return el("th", { scope: "col", class: `c-${column.kind === "score" ? "score" : column.key}${column.kind && column.kind !== "score" ? " c-number" : ""}`, "data-key": column.key, "aria-sort": active ? (down ? "descending" : "ascending") : "none", title: column.title },
    el("button", { type: "button", onclick: press }, column.label, el("span", { class: "arrow", "aria-hidden": "true" }, active ? (down ? "▾" : "▴") : "")));
}

function pin(id) {
  const pins = state.pins.split(",").filter(Boolean);
  set({ pins: (pins.includes(id) ? pins.filter((each) => each !== id) : [...pins, id].slice(-4)).join(",") }, true);
}

function cell(row, column) {
  if (column.kind === "score") {
    const score = scoreOf(row, column.protocol, column.metric);
    if (!score) return el("td", { class: "c-score" }, NONE);
    const text = score[3].toFixed(1);
    return el("td", { class: "c-score" }, isBest(row, column) ? el("b", {}, text) : text, el("small", {}, interval(score)));
  }
  const three = (value) => (value === null || value === undefined ? NONE : THREE_DIGITS.format(value));
  const [text, below] = {
    rank: () => [row.rank === null ? NONE : String(row.rank)],
    crop: () => [row.crop], chain: () => [row.chain], card: () => [chip(row.card)], backbone: () => [row.backbone], training: () => [row.training], device: () => [row.device],
    bytes: () => [memoryAndDisk(row), row.disk ? "memory + disk" : null], dim: () => [WHOLE.format(row.dim)],
    query: () => [three(row.query)], latency: () => [row.latency ? row.latency.map(three).join(" / ") : NONE],
    parameters: () => [three(millions(row.parameters))], flops: () => [three(row.flops && row.flops / 1e9)], speed: () => [three(row.speed)],
    size: () => [`${three((row.bytes * Number(state.n)) / 1e9)} GB`, row.search ? `${three((row.search * Number(state.n)) / 1e6)} ms` : null],
  }[column.key]();
  return el("td", { class: `c-${column.key}${column.kind ? " c-number" : ""}` }, text, below ? el("small", {}, below) : null);
}

function threeDigits(value) { return THREE_DIGITS.format(value); }

function rowLines(row, columns) {
  const open = state.open === row.id;
  const button = el("button", { type: "button", class: "name", "aria-expanded": String(open), "aria-controls": `d-${row.id}`, "data-id": row.id, onclick: () => toggleRow(row.id) }, row.name);
  const line = el("tr", { class: `row ${open ? "open" : ""}`, id: `r-${row.id}` },
    el("th", { scope: "row", class: "c-name" }, el("span", { class: "title" }, button, ...row.marks.map((mark) => el("span", { class: `mark ${mark}` }, mark)),
      el("button", { type: "button", class: "pin", title: "pin: keep beside others", "aria-pressed": String(state.pins.split(",").includes(row.id)), "aria-label": `pin ${row.name}`, onclick: () => { pin(row.id); const again = document.querySelector(`#r-${CSS.escape(row.id)} .pin`); if (again) again.focus(); } }, "pin")),
      el("small", { class: "narrow-cost" }, [row.query ? `${threeDigits(row.query)} ms` : row.latency ? `${threeDigits(row.latency[0])} ms` : "", `${WHOLE.format(row.bytes)} B`].filter(Boolean).join(", "))),
    );
  line.replaceChildren(...columns.map((column) => (column.key === "name" ? line.firstChild : cell(row, column))));
  if (!open) return [line];
  return [line, el("tr", { class: "more", id: `d-${row.id}` }, el("td", { colspan: columns.length }, detail(row)))];
}

function renderTable(groups, columns, column, total) {
  const place = $("rows");
  if (inView.length === 0) {
    place.replaceChildren(el("p", { class: "empty", id: "empty" },
      total ? "No measured row fits these filters. " : `No method was measured on ${state.data || "any data set"}. `,
      anyFilter() ? el("button", { type: "button", onclick: clear }, "Clear filters") : null));
    return;
  }
  const body = el("tbody");
  let left = limit;
  for (const group of groups) {
    if (left <= 0) break;
    if (group.group && groups.length > 1) {
      body.append(el("tr", { class: "group" }, el("th", { colspan: columns.length, scope: "rowgroup" },
        group.partial ? el("span", { class: "mark partial" }, "partial runs, not ranked") : null, " ", group.group.words)));
    }
    for (const row of group.rows.slice(0, left)) body.append(...rowLines(row, columns));
    left -= group.rows.length;
  }
  const table = el("table", { class: "board" },
    el("caption", {}, `${state.data}${state.protocol ? `, ${state.protocol}` : ""}: measured, %`),
    el("thead", {}, el("tr", {}, ...columns.map((each) => heading(each, column)))), body);
  const hidden = inView.length - limit;
  place.replaceChildren(el("div", { class: "scroll" }, table), ...(hidden > 0 ? [el("p", { class: "paging" },
    `${WHOLE.format(limit)} of ${WHOLE.format(inView.length)} rows are listed. `,
    el("button", { type: "button", id: "more", onclick: () => { limit += 1000; render(); } }, `Show ${WHOLE.format(Math.min(hidden, 1000))} more`))] : []));
}

function toggleRow(id) {
  set({ open: state.open === id ? "" : id }, true);
  const button = document.querySelector(`button.name[data-id="${CSS.escape(id)}"]`);
  if (button) button.focus({ preventScroll: true });
}

function openRow(row) {
  const place = inView.indexOf(row);
  if (place >= limit) limit = place + 1;
  set({ open: row.id }, true);
  reveal();
}

function reveal() {
  const button = state.open && document.querySelector(`button.name[data-id="${CSS.escape(state.open)}"]`);
  if (!button) return;
  button.focus({ preventScroll: true });
  button.scrollIntoView({ block: "center" });
}

function renderPlot(rows, columns, column) {
  const place = $("plot");
  if (!place.firstChild) {
    const pick = (value, text) => el("button", { type: "button", "data-x": value, onclick: () => set({ x: value }, true) }, text);
    place.append(el("h2", {}, "Quality against cost"), el("p", { class: "pick" }, el("span", { class: "what" }), " against ", ...Object.entries(COSTS).flatMap(([key, [words]]) => [pick(key, words.split(",")[0]), " "])),
      el("div", { class: "canvas-box" }, el("div", { class: "canvas" }), el("div", { class: "tip", hidden: true })), el("p", { class: "note quiet" }));
  }
  const scores = column.kind === "score" ? column : sortColumn(columns, { ...state, sort: "" });
  place.hidden = false;
  for (const button of place.querySelectorAll("[data-x]")) button.setAttribute("aria-pressed", String(button.dataset.x === state.x));
  if (scores.kind !== "score") { place.hidden = true; return; }
  place.querySelector(".what").textContent = scores.title.replace(/ \(.*/, "");
  const drawable = (axis) => rows.some((row) => !row.partial && COSTS[axis][1](row) > 0);
  if (!drawable(state.x)) {
    place.hidden = !Object.keys(COSTS).some(drawable);
    place.querySelector(".canvas").replaceChildren(el("p", { class: "empty" }, `No row in view has the ${COSTS[state.x][0].split(",")[0]}.`));
    place.querySelector(".note").textContent = "";
    return;
  }
  drawPlot(place, rows, scores, state, openRow);
}

// Columns of published rows: mAP by protocol, or Recall@k; sorted by the first, the best first.
function publishedColumns(rows) {
  const keys = new Map();
  for (const row of rows) for (const [dataset, protocol, metric] of row.values) {
    if (dataset === state.data && (!state.protocol || protocol === state.protocol)) keys.set(`${protocol}|${metric}`, [protocol, metric]);
  }
  const order = (name) => ["medium", "hard", "easy"].indexOf(name) + 1 || 9;
  const all = [...keys.values()];
  const maps = all.filter(([, metric]) => metric === "mAP").sort(([a], [b]) => order(a) - order(b) || (a < b ? -1 : 1));
  const recalls = all.filter(([, metric]) => /^R@(1|5|10)$/.test(metric)).sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : Number(x.slice(2)) - Number(y.slice(2))));
  return (maps.length ? maps : recalls.length ? recalls : all).slice(0, 6);
}

function renderPublished() {
  const place = $("published");
  const rows = filteredPublished(state);
  const all = DATA.published.filter((row) => row.values.some(([dataset]) => dataset === state.data));
  if (!all.length) { place.replaceChildren(); return; }
  const columns = publishedColumns(all);
  const digits = (row, [protocol, metric]) => { const found = row.values.find((value) => value[0] === state.data && value[1] === protocol && value[2] === metric); return found ? found[3] : null; };
  const several = new Set(columns.map(([protocol]) => protocol)).size > 1;
  const heads = [
    ["method", "Method", (row) => `${row.name} ${row.variant}`],
    ...columns.map((column) => [column.join("|"), several || column[1] === "mAP" ? column.join(" ") : column[1], (row) => { const text = digits(row, column); return text === null ? null : Number(text); }]),
    ["year", "Year", (row) => row.year], ["dim", "Dim", (row) => row.dim], ["crop", "Query", (row) => row.crop], ["rerank", "Re-ranking", (row) => row.rerank], ["source", "Source", (row) => row.source],
  ];
  const chosen = heads.find(([key]) => key === state.psort) || heads[1];
  const score = columns.some((column) => column.join("|") === chosen[0]);
  const down = state.porder ? state.porder === "desc" : score || chosen[0] === "year";
  const ordered = [...rows].sort((one, other) => {
    const [a, b] = [chosen[2](one), chosen[2](other)];
    if (a === null || b === null) return (a === null) - (b === null);
    return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
  });
  const sort = (key) => { set({ psort: key, porder: key === chosen[0] ? (down ? "asc" : "desc") : "" }, true); const again = document.querySelector(`[data-published="${CSS.escape(key)}"]`); if (again) again.focus(); };
  const body = ordered.map((row) => el("tr", {},
    el("th", { scope: "row", class: "c-name" }, row.name, ...row.marks.map((mark) => el("span", { class: "mark" }, mark)), el("small", {}, row.variant)),
    ...columns.map((column) => el("td", { class: "c-score digits", "data-label": `${column.join(" ")}: ` }, digits(row, column) ?? NONE)),
    el("td", { class: "wide-only" }, row.year ?? NONE), el("td", { class: "wide-only" }, row.dim === null ? NONE : WHOLE.format(row.dim)),
    el("td", { "data-label": "Query: " }, row.crop), el("td", { "data-label": "Re-ranking: " }, row.rerank),
    el("td", {}, row.url ? el("a", { href: row.url, rel: "noreferrer" }, row.source) : row.source, " ", el("span", { class: "tag", title: DATA.tags[row.tag] }, row.tag),
      row.part === "main" ? null : el("span", { class: "tag" }, row.part), row.note ? el("small", {}, row.note) : null)));
  place.replaceChildren(
    el("h2", { id: "published-heading" }, "Published elsewhere, not measured here"),
    el("p", {}, `${rows.length} of ${all.length} rows of ${state.data}, with the digits as printed in their source. They have no protocol card: how they were scored is known only as far as the columns say, and they are never sorted among the measured rows. Data set, protocol, query, backbone and search apply to them.`),
    rows.length ? el("div", { class: "scroll" }, el("table", { class: "board" },
      el("thead", {}, el("tr", {}, ...heads.map(([key, label]) => el("th", { scope: "col", class: ["year", "dim"].includes(key) ? "wide-only" : "", "aria-sort": key === chosen[0] ? (down ? "descending" : "ascending") : "none" },
        el("button", { type: "button", "data-published": key, onclick: () => sort(key) }, label, el("span", { class: "arrow", "aria-hidden": "true" }, key === chosen[0] ? (down ? "▾" : "▴") : "")))))),
      el("tbody", {}, ...body))) : el("p", { class: "empty" }, "No published row fits these filters."));
}

function renderLeftOut() {
  if (!DATA.left_out.length) return;
  $("left-out").append(el("h2", {}, "Not shown"), el("ul", {}, ...DATA.left_out.map(([file, reason]) => el("li", {}, el("code", {}, file), ` ${reason}`))));
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest && event.target.closest("input, select");
  if (event.key === "/" && !typing) { event.preventDefault(); $("f-q").focus(); return; }
  if (event.key === "Escape" && state.open && !typing) { toggleRow(state.open); return; }
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !event.target.matches("button.name")) return;
  event.preventDefault();
  const names = [...document.querySelectorAll("button.name")];
  const next = names[names.indexOf(event.target) + step];
  if (next) next.focus();
});
window.addEventListener("hashchange", () => {
  if (location.hash.slice(1) === stateAsHash(state) || location.hash === "#rows-heading") return;
  state = readState();
  render();
  reveal();
});
window.addEventListener("beforeprint", () => {
  limit = Infinity;
  for (const details of document.querySelectorAll("#cards details")) details.open = true;
  render();
});
window.addEventListener("afterprint", () => { limit = AT_ONCE; render(); });
let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === width) return;
  width = window.innerWidth;
  render();
});
$("filters").addEventListener("submit", (event) => event.preventDefault());
renderLeftOut();
render();
if (state.open) {
  const row = inView.find((each) => each.id === state.open);
  if (row) openRow(row);
}
