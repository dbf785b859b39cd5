"use strict";
// What is shown: the data, the state that the address keeps, filtering, sorting, columns.

const DATA = JSON.parse(document.getElementById("data").textContent);
// Key, words and title of each filter; a row has a value under each key (FACETS of page.py).
const FACETS = DATA.facets;
// Bounds: what is bounded, its words, and the value of a row.
const BOUNDS = [
  ["maxms", "ms ≤", "largest time of a query, ms", (row) => row.query ?? (row.latency && row.latency[0])],
  ["maxkb", "KB ≤", "largest descriptor of an image, local features included, KB", (row) => row.bytes / 1000],
  ["maxpar", "params ≤, M", "most parameters of the network, millions", (row) => row.parameters && row.parameters / 1e6],
];
const unset = (list) => Object.fromEntries(list.map(([key]) => [key, ""]));
const DEFAULTS = {
  data: "", protocol: "", ...unset(FACETS), q: "", sort: "score", order: "", group: "yes", x: "query", open: "",
  ...unset(BOUNDS), cols: "", pins: "", n: "1000000", psort: "", porder: "",
};
// What another data set begins with: filters of rows are of the data set before.
const OF_A_DATASET = { protocol: "", ...unset(FACETS), open: "" };
// What quality is drawn against: the words of the axis, and the cost of a row, null where unknown.
const COSTS = {
  query: ["time of a query, ms (p50)", (row) => row.query],
  latency: ["describe one image, ms (p50)", (row) => row.latency && row.latency[0]],
  bytes: ["bytes per image", (row) => row.bytes],
  parameters: ["parameters, millions", (row) => row.parameters && row.parameters / 1e6],
};
const AT_ONCE = 100;
const NONE = "–";
// Made once: toLocaleString makes a formatter each time, which thousands of rows would feel.
const WHOLE = new Intl.NumberFormat("en-GB");
const THREE_DIGITS = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3 });

const byCard = new Map(Object.entries(DATA.cards));
for (const card of byCard.values()) {
  card.at = new Map(card.metrics.map(([, id], index) => [id, index]));
  card.labels = new Map(card.metrics.map(([label, id]) => [id, label]));
}
for (const row of DATA.rows) {
  row.partial = row.marks.includes("partial");
  row.text = [row.name, row.stages, ...row.marks, row.backbone, row.backbone.replace("-", ""), row.training, row.card.slice(0, 8)].join(" ").toLowerCase();
}
const byId = new Map(DATA.rows.map((row) => [row.id, row]));
for (const row of DATA.published) {
  row.text = [row.name, row.variant, row.backbone, row.training, row.source].join(" ").toLowerCase();
}

function count(list) {
  const counts = new Map();
  for (const item of list) counts.set(item, (counts.get(item) || 0) + 1);
  return counts;
}

const MEASURED = count(DATA.rows.map((row) => row.dataset));
const DATASETS = [
  ...DATA.datasets,
  ...[...new Set(DATA.published.flatMap((row) => row.values.map((value) => value[0])))]
    .filter((name) => !MEASURED.has(name)).sort(),
];
// The data set with most methods opens first, the toy last; of equal ones the first of the field.
const METHODS = (name) => (name === "mini" ? 0 : new Set(DATA.rows.filter((row) => row.dataset === name).map((row) => row.name)).size);
const MANY = new Map(DATA.datasets.map((name) => [name, METHODS(name)]));
DEFAULTS.data = DATA.datasets.reduce((best, name) => (MANY.get(name) > MANY.get(best) ? name : best), DATA.datasets[0] || DATASETS[0] || "");

function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  const state = { ...DEFAULTS };
  for (const key of Object.keys(DEFAULTS)) if (given.has(key)) state[key] = given.get(key);
  if (!DATASETS.includes(state.data)) state.data = DEFAULTS.data;
  if (!Object.hasOwn(COSTS, state.x)) state.x = DEFAULTS.x;
  return state;
}

function stateAsHash(state) {
  const kept = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) if (value !== DEFAULTS[key]) kept.set(key, value);
  return kept.toString();
}

function protocolsOf(state) {
  const names = new Set(DATA.rows.filter((row) => row.dataset === state.data).flatMap((row) => Object.keys(row.scores)));
  const listed = DATA.protocols.filter((name) => names.has(name));
  for (const row of DATA.published) for (const [dataset, name] of row.values) {
    if (dataset === state.data && !listed.includes(name)) listed.push(name);
  }
  return listed;
}

// The protocol that rows are sorted and drawn by where none is chosen: medium, or the first.
function mainProtocol(state) {
  const names = protocolsOf(state);
  return state.protocol || (names.includes("medium") ? "medium" : names[0] || "");
}

function words(state) {
  return state.q.toLowerCase().split(/\s+/).filter(Boolean);
}

function filtered(state) {
  const wanted = words(state);
  return DATA.rows.filter((row) =>
    row.dataset === state.data
    && (!state.protocol || state.protocol in row.scores)
    && FACETS.every(([key]) => !state[key] || row[key] === state[key])
    && within(row, state)
    && wanted.every((word) => row.text.includes(word)));
}

// What is not known is not within a bound.
function within(row, state) {
  return BOUNDS.every(([key, , , value]) => {
    const bound = Number(state[key]);
    if (state[key] === "" || !Number.isFinite(bound)) return true;
    const known = value(row);
    return known !== null && known !== undefined && known <= bound;
  });
}

function filteredPublished(state) {
  const wanted = words(state);
  return DATA.published.filter((row) =>
    row.values.some(([dataset, protocol]) => dataset === state.data && (!state.protocol || protocol === state.protocol))
    && (!state.crop || row.crop === state.crop) && (!state.backbone || row.backbone === state.backbone)
    && wanted.every((word) => row.text.includes(word)));
}

function scoreOf(row, protocol, metric) {
  const index = byCard.get(row.card).at.get(metric);
  return index === undefined || !row.scores[protocol] ? null : row.scores[protocol][index];
}

// All protocols: the headline metric of each. One protocol: its headline, mP@k and Recall@k.
function scoreColumns(rows, state) {
  const metrics = new Map();
  for (const row of rows) {
    const list = byCard.get(row.card).metrics;
    list.forEach(([label, id], index) => {
      if (index === 0 || (state.protocol && /^(mp|recall)@/.test(id))) metrics.set(id, label);
    });
  }
  const names = state.protocol ? [state.protocol] : protocolsOf(state).filter((name) => rows.some((row) => name in row.scores));
  const columns = [];
  for (const [id, label] of metrics) for (const name of names) {
    columns.push({
      key: `${name}|${id}`, kind: "score", protocol: name, metric: id,
      label: state.protocol ? label : metrics.size > 1 ? `${name} ${label}` : name,
      title: `${label} under ${name}, % (${id})`,
      value: (row) => (scoreOf(row, name, id) || [null])[0],
    });
  }
  return columns;
}

const memoryAndDisk = ({ bytes, disk }) => (disk ? `${WHOLE.format(bytes - disk)} + ${WHOLE.format(disk)}` : WHOLE.format(bytes));
const millions = (value) => value && value / 1e6;
const FIXED = [
  { key: "name", label: "Method", title: "method.variant", value: (row) => row.name },
  { key: "rank", label: "#", kind: "rank", title: "place among the rows in view of one protocol and system, by the column that sorts", value: (row) => row.rank ?? null },
  { key: "query", label: "Query, ms", kind: "number", title: "a query from its file to its list: decode, describe, search, re-rank; p50, one image at a time", value: (row) => row.query },
  { key: "latency", label: "Describe, ms", kind: "number", title: "describe one image at a time: p50 / p95, and the device", value: (row) => row.latency && row.latency[0] },
  { key: "bytes", label: "Bytes", kind: "number", title: "bytes that the search needs per image of the database, memory + disk", value: (row) => row.bytes },
  { key: "dim", label: "Dim", kind: "number", title: "numbers per descriptor", value: (row) => row.dim },
  { key: "parameters", label: "Params, M", kind: "number", title: "parameters of the network, millions", value: (row) => millions(row.parameters) },
  { key: "flops", label: "GFLOPs", kind: "number", title: "operations of one image, all scales", value: (row) => row.flops && row.flops / 1e9 },
  { key: "speed", label: "Images/s", kind: "number", title: "describe, at the batch that was best", value: (row) => row.speed },
  { key: "size", label: "At N", kind: "number", title: "GB of an index of N images, and ms of an exact search of it where it was timed on 10,000 rows or more", value: (row, state) => row.bytes * Number(state.n) / 1e9 },
  { key: "chain", label: "System", title: "compression, index, precision and stages; rows of one system are ranked together", value: (row) => row.chain },
  { key: "crop", label: "Query", title: "what of a query the method sees", value: (row) => row.crop },
  { key: "backbone", label: "Backbone", title: "", value: (row) => row.backbone },
  { key: "training", label: "Trained on", title: "", value: (row) => row.training },
  { key: "device", label: "Device", title: "", value: (row) => row.device },
  { key: "card", label: "Card", title: "first 8 digits of the id of the protocol card", value: (row) => row.card },
];
const SHOWN = ["rank", "query", "bytes", "dim", "chain", "card"];

function chosenColumns(state, rows) {
  if (state.cols) return state.cols.split(",").filter((key) => key !== "none");
  return SHOWN.filter((key) => key !== "chain" || new Set(rows.map((row) => row.chain)).size > 1);
}

function columnsOf(rows, state) {
  const chosen = chosenColumns(state, rows);
  const [name, rank, ...others] = FIXED;
  return [...(chosen.includes("rank") ? [rank] : []), name, ...scoreColumns(rows, state), ...others.filter((column) => chosen.includes(column.key))];
}

// Places of the rows in view, per protocol and system, by a column of scores; equal digits share one.
function placeRows(rows, column) {
  const chains = new Map();
  for (const row of rows) {
    row.rank = null;
    const score = column && column.kind === "score" && scoreOf(row, column.protocol, column.metric);
    if (!score || row.marks.some((mark) => UNRANKED.has(mark))) continue;
    const key = `${row.group} ${row.chain}`;
    if (!chains.has(key)) chains.set(key, []);
    chains.get(key).push([score[3], row]);
  }
  for (const list of chains.values()) {
    list.sort(([a], [b]) => b - a);
    list.forEach(([value, row], i) => { row.rank = i && list[i - 1][0] === value ? list[i - 1][1].rank : i + 1; });
  }
}
const UNRANKED = new Set(["untrained", "chance", "partial"]);

function sortColumn(columns, state) {
  const main = mainProtocol(state);
  return columns.find((column) => column.key === state.sort)
    || columns.find((column) => column.kind === "score" && column.protocol === main)
    || columns.find((column) => column.kind === "score") || columns[0];
}

function descending(column, state) {
  return state.order ? state.order === "desc" : column.kind === "score" || column.key === "speed";
}

function sorted(rows, column, state) {
  const sign = descending(column, state) ? -1 : 1;
  const keyed = rows.map((row) => [column.value(row, state), row]);
  const compare = (a, b) => {
    if (a === b) return 0;
    if (a === null) return 2;
    if (b === null) return -2;
    return a < b ? -1 : 1;
  };
  keyed.sort(([a, one], [b, other]) => {
    if (one.partial !== other.partial) return one.partial ? 1 : -1;
    const order = compare(a, b);
    if (Math.abs(order) === 2) return order;
    return sign * order || compare(one.name, other.name) || compare(one.id, other.id);
  });
  return keyed.map(([, row]) => row);
}

// Rows that may be compared, the groups in the order of their first row; partial rows last.
function grouped(rows) {
  const groups = new Map();
  for (const row of rows) {
    if (!groups.has(row.group)) groups.set(row.group, { group: DATA.groups[row.group], partial: row.partial, rows: [] });
    groups.get(row.group).rows.push(row);
  }
  return [...groups.values()];
}

// Whether a row is best in a column, among the complete rows of its data set, group and system.
function isBest(row, column) {
  const at = byCard.get(row.card).at.get(column.metric);
  return (row.places[column.protocol] || [])[at] === 1;
}

function whatDiffers(cards) {
  const fields = new Map();
  for (const sha of cards) for (const [name, value] of byCard.get(sha).fields) {
    if (!fields.has(name)) fields.set(name, new Map());
  }
  for (const [name, values] of fields) for (const sha of cards) {
    const found = byCard.get(sha).fields.find((field) => field[0] === name);
    const value = found ? found[1] : "not on the card";
    values.set(value, [...(values.get(value) || []), sha]);
  }
  return [...fields].filter(([, values]) => values.size > 1);
}
