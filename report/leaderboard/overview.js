"use strict";
// Methods × data sets: what is in view is ranked anew, from the same draws as in the report.

const DRAWN = new Map();

function drawsOf(packed) {
  if (packed === null) return null;
  if (!DRAWN.has(packed)) {
    const bytes = Uint8Array.from(atob(packed), (char) => char.charCodeAt(0));
    DRAWN.set(packed, new Uint16Array(bytes.buffer));
  }
  return DRAWN.get(packed);
}

// Rank of each value: 1, plus the number of better ones, ties shared.
function ranksOf(values) {
  const order = values.map((_, i) => i).sort((a, b) => values[b] - values[a]);
  const ranks = new Array(values.length);
  for (let start = 0, end = 0; start < order.length; start = end) {
    while (end < order.length && values[order[end]] === values[order[start]]) end += 1;
    for (let i = start; i < end; i += 1) ranks[order[i]] = (start + end + 1) / 2;
  }
  return ranks;
}

function quantile(sorted, part) {
  const at = part * (sorted.length - 1);
  const low = Math.floor(at);
  return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

// Letters, so that two members share one unless their pair is told apart (Piepho, 2004).
function lettersOf(order, told) {
  let columns = [new Set(order)];
  for (const [one, other] of told) {
    if (!columns.some((column) => column.has(one) && column.has(other))) continue;
    const split = columns.flatMap((column) => (column.has(one) && column.has(other)
      ? [new Set([...column].filter((each) => each !== one)), new Set([...column].filter((each) => each !== other))] : [column]));
    const unique = split.filter((column, i) => split.findIndex((each) => each.size === column.size && [...each].every((x) => column.has(x))) === i);
    columns = unique.filter((column) => !unique.some((each) => each.size > column.size && [...column].every((x) => each.has(x))));
  }
  const place = new Map(order.map((member, i) => [member, i]));
  const key = (column) => [...column].map((member) => place.get(member)).sort((a, b) => a - b);
  const keyed = columns.map((column) => [key(column), column]).sort(([a], [b]) => {
    for (let i = 0; i < Math.min(a.length, b.length); i += 1) if (a[i] !== b[i]) return a[i] - b[i];
    return a.length - b.length;
  });
  const letter = (i) => String.fromCharCode(97 + (i % 26)) + (i >= 26 ? Math.floor(i / 26) : "");
  return new Map(order.map((member) => [member, keyed.map(([, column], i) => (column.has(member) ? letter(i) : "")).join("")]));
}

// Mean ranks over the data sets that all lines have; where there is none, of the lines that have all.
function rankLines(lines, sets) {
  const all = sets.map((_, i) => i);
  let common = all.filter((i) => lines.every((line) => line.means[i] !== null));
  const among = common.length ? lines : lines.filter((line) => line.means.every((mean) => mean !== null));
  if (!common.length) common = all;
  if (among.length < 2) return { ranks: new Map(), common: [] };
  const ranks = common.map((i) => ranksOf(among.map((line) => line.means[i])));
  const mean = among.map((_, m) => ranks.reduce((sum, of) => sum + of[m], 0) / common.length);
  const drawn = common.map((i) => among.map((line) => drawsOf(line.draws[i])));
  const out = new Map(among.map((line, m) => [line, { mean: mean[m], interval: null, letters: "a" }]));
  if (drawn.every((of) => of.every(Boolean))) {
    const count = drawn[0][0].length;
    const over = among.map(() => new Float64Array(count));
    for (let draw = 0; draw < count; draw += 1) for (const ranked of rankedDraw(drawn, draw)) ranked.forEach((rank, m) => { over[m][draw] += rank / common.length; });
    const ends = over.map((values) => values.slice().sort());
    const told = [];
    const few = among.length <= DATA.most_letters;
    for (let one = 0; few && one < among.length; one += 1) for (let other = one + 1; other < among.length; other += 1) {
      const apart = over[one].map((value, draw) => value - over[other][draw]).sort();
      if (quantile(apart, 0.025) > 1e-9 || quantile(apart, 0.975) < -1e-9) told.push([one, other]);
    }
    const order = among.map((_, m) => m).sort((a, b) => mean[a] - mean[b]);
    const letters = few ? lettersOf(order, told) : new Map();
    among.forEach((line, m) => out.set(line, { mean: mean[m], interval: [quantile(ends[m], 0.025), quantile(ends[m], 0.975)], letters: letters.get(m) || "" }));
  }
  return { ranks: out, common };
}

function rankedDraw(drawn, draw) {
  return drawn.map((of) => ranksOf(of.map((values) => values[draw])));
}

// A line stays where one of its rows fits the filters that are not of one data set.
function linesInView(one, state) {
  const wanted = words(state);
  return one.lines.filter((line) => line.rows.some((id) => {
    const row = id && byId.get(id);
    return row && wanted.every((word) => row.text.includes(word)) && (!state.backbone || row.backbone === state.backbone) && within(row, state);
  }));
}

// Ranks of many methods take longer than a key: they follow once nobody types.
const AT_A_KEY = 40;
let waiting = 0;

function renderOverview(state, choose) {
  const place = document.getElementById("overview");
  const shown = DATA.overviews.filter((one) => one.sets.length > 1 || DATA.datasets.length > 1).map((one) => [one, linesInView(one, state)]);
  if (!shown.length) { place.hidden = true; return; }
  const key = shown.map(([, lines]) => lines.map((line) => line.name).join("|")).join("||");
  if (place.dataset.shown === key) return;
  clearTimeout(waiting);
  const draw = () => { place.dataset.shown = key; drawOverview(place, shown, choose); };
  if (shown.reduce((sum, [, lines]) => sum + lines.length, 0) <= AT_A_KEY) draw();
  else waiting = setTimeout(draw, place.firstChild ? 200 : 0);
}

function drawOverview(place, shown, choose) {
  const tables = shown.map(([one, lines]) => overviewTable(one, lines, choose)).filter(Boolean);
  const old = place.querySelector("details");
  const open = old ? old.open : window.innerWidth > 640;
  place.replaceChildren(el("details", { open }, el("summary", {}, el("h2", {}, "Overview"), el("span", { class: "quiet" }, " methods × data sets, mean rank of what is in view")),
    el("div", { class: "scroll overview-box" }, ...(tables.length ? tables : [el("p", { class: "empty" }, "No method fits these filters.")]))));
}

function overviewTable(one, lines, choose) {
  if (!lines.length) return null;
  const { ranks, common } = rankLines(lines, one.sets);
  const known = (line) => line.means.filter((mean) => mean !== null);
  const key = (line) => (ranks.has(line) ? [0, ranks.get(line).mean, 0] : [1, -known(line).length, -known(line).reduce((sum, mean) => sum + mean, 0)]);
  const ordered = [...lines].sort((a, b) => key(a)[0] - key(b)[0] || key(a)[1] - key(b)[1] || key(a)[2] - key(b)[2] || (a.name < b.name ? -1 : 1));
  const best = one.sets.map((_, i) => {
    const values = lines.map((line) => line.means[i]).filter((mean) => mean !== null).map((mean) => mean.toFixed(1));
    return values.length > 1 ? values.reduce((a, b) => (Number(b) > Number(a) ? b : a)) : null;
  });
  const head = ["", `${one.metric}${one.system === "plain" ? "" : `, ${one.system}`}`, "Mean rank", "", "Sets", "ms", "Bytes"];
  const body = ordered.map((line, place) => {
    const rank = ranks.get(line);
    return el("tr", {}, el("td", {}, rank ? String(place + 1) : NONE), el("th", { scope: "row" }, line.name),
      el("td", {}, rank ? rank.mean.toFixed(1) : NONE, rank && rank.interval ? el("small", {}, ` ${rank.interval[0].toFixed(1)}–${rank.interval[1].toFixed(1)}`) : null),
      el("td", { title: "methods that share a letter do not differ significantly" }, rank ? rank.letters : ""),
      el("td", {}, String(known(line).length)), el("td", {}, line.query === null ? NONE : THREE_DIGITS.format(line.query)), el("td", {}, line.bytes === null ? NONE : memoryAndDisk(line)),
      ...line.means.map((mean, i) => el("td", {}, mean === null ? NONE : mean.toFixed(1) === best[i] ? el("b", {}, best[i]) : mean.toFixed(1))));
  });
  const note = ranks.size ? `Mean rank over ${common.length} data ${common.length === 1 ? "set" : "sets"} of ${ranks.size} ${ranks.size === 1 ? "method" : "methods"}; small: 95 % interval over landmarks.` : "No two methods in view have all data sets: no mean rank.";
  return el("table", { class: "board overview" }, el("caption", { class: "shown" }, note),
    el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)),
      ...one.sets.map(([name, protocol]) => el("th", { scope: "col", title: `${name}, ${protocol}` }, el("button", { type: "button", onclick: () => choose(name) }, name))))),
    el("tbody", {}, ...body));
}
