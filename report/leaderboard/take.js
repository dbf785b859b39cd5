"use strict";
// What can be taken away: rows pinned side by side, the view as CSV and LaTeX, a command to copy.

function pinned(state) {
  return state.pins.split(",").filter(Boolean).map((id) => byId.get(id)).filter(Boolean);
}

// The draws of a row under its main protocol, where the overview has them.
function drawsOfRow(id) {
  for (const one of DATA.overviews) for (const line of one.lines) {
    const at = line.rows.indexOf(id);
    if (at >= 0 && line.draws[at] !== null) return { draws: drawsOf(line.draws[at]), dataset: one.sets[at][0], protocol: one.sets[at][1] };
  }
  return null;
}

// The difference of two rows in points and its 95 % interval, paired over landmarks.
function pairedDifference(one, other, column) {
  const [a, b] = [scoreOf(one, column.protocol, column.metric), scoreOf(other, column.protocol, column.metric)];
  if (!a || !b || one.group !== other.group) return null;
  const [left, right] = [drawsOfRow(one.id), drawsOfRow(other.id)];
  const card = byCard.get(one.card).metrics[0][1];
  const drawn = left && right && left.protocol === column.protocol && left.dataset === right.dataset && card === column.metric;
  const out = { points: a[0] - b[0], interval: null };
  if (drawn) {
    const apart = Array.from(left.draws, (value, i) => (100 * (value - right.draws[i])) / 65535).sort((x, y) => x - y);
    out.interval = [quantile(apart, 0.025), quantile(apart, 0.975)];
  }
  return out;
}

function signed(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)}`;
}

function renderPins(state, columns, unpin) {
  const place = document.getElementById("pins");
  const rows = pinned(state);
  if (!rows.length) { place.replaceChildren(); return; }
  const shown = columns.filter((column) => column.kind === "score");
  const first = rows[0];
  const cells = (row) => shown.map((column) => {
    const score = scoreOf(row, column.protocol, column.metric);
    if (!score) return el("td", {}, NONE);
    const apart = row === first ? null : pairedDifference(row, first, column);
    return el("td", {}, score[3].toFixed(1), apart ? el("small", {}, `${signed(apart.points)}${apart.interval ? ` (${signed(apart.interval[0])} to ${signed(apart.interval[1])})` : ""}`) : null);
  });
  const apart = rows.some((row) => row.group !== first.group);
  place.replaceChildren(el("h2", {}, "Pinned"), el("div", { class: "scroll" }, el("table", { class: "board" },
    el("thead", {}, el("tr", {}, ...["Method", "Data set", ...shown.map((column) => column.label), "Query, ms", "Bytes", "Params, M", ""].map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, el("th", { scope: "row" }, row.name, ...row.marks.map((mark) => el("span", { class: `mark ${mark}` }, mark))), el("td", {}, row.dataset), ...cells(row),
      el("td", {}, row.query === null ? NONE : THREE_DIGITS.format(row.query)), el("td", {}, memoryAndDisk(row)), el("td", {}, row.parameters ? THREE_DIGITS.format(row.parameters / 1e6) : NONE),
      el("td", {}, el("button", { type: "button", class: "unpin", "aria-label": `unpin ${row.name}`, onclick: () => unpin(row.id) }, "unpin"))))))),
    el("p", { class: "note quiet" }, `Small: difference to ${first.name}, in points, with the 95 % interval of a bootstrap paired over landmarks where both are in the overview.`
      + (apart ? " Rows of another protocol have no difference." : "")));
}

function textOf(row, column) {
  if (column.kind === "score") { const score = scoreOf(row, column.protocol, column.metric); return score ? score[3].toFixed(1) : ""; }
  const value = column.value(row, state);
  if (value === null || value === undefined) return "";
  return column.key === "card" ? row.card.slice(0, 8) : column.kind === "number" ? String(Number(Number(value).toPrecision(6))) : String(value);
}

function asCsv(rows, columns) {
  const quote = (text) => { const safe = /^[=+\-@]/.test(text) && !/^-?[\d.]+$/.test(text) ? `'${text}` : text; return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe; };
  const head = ["data set", "protocol group", "marks", ...columns.map((column) => column.label)];
  const lines = rows.map((row) => [row.dataset, DATA.groups[row.group].words, row.marks.join(" "), ...columns.map((column) => textOf(row, column))]);
  return [head, ...lines].map((line) => line.map(quote).join(",")).join("\r\n") + "\r\n";
}

function asLatex(rows, columns) {
  const signs = { "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "%": "\\%", "_": "\\_", "^": "\\^{}", "~": "\\textasciitilde{}", "<": "\\(<\\)", ">": "\\(>\\)" };
  const safe = (text) => text.replace(/[\\{}$&#%_^~<>]/g, (sign) => signs[sign]).replace(/[^\x20-\x7e]/g, "?");
  const cell = (row, column) => { const text = safe(textOf(row, column)) || "--"; return column.kind === "score" && isBest(row, column) ? `\\textbf{${text}}` : text; };
  const lines = rows.map((row) => columns.map((column) => cell(row, column) + (column.key === "name" && row.marks.length ? ` (${row.marks.join(", ")})` : "")).join(" & "));
  return [`% ${safe(state.data)}; needs \\usepackage{booktabs}`, `\\begin{tabular}{@{}${columns.map((column) => (column.kind ? "r" : "l")).join("")}@{}}`, "\\toprule",
    `${columns.map((column) => safe(column.label)).join(" & ")} \\\\`, "\\midrule", ...lines.map((line) => `{}${line} \\\\`), "\\bottomrule", "\\end{tabular}", ""].join("\n");
}

function download(name, text, kind) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type: kind })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

function copyText(text, button) {
  const done = () => { button.textContent = "copied"; setTimeout(() => { button.textContent = "copy"; }, 1500); };
  if (navigator.clipboard && window.isSecureContext) { navigator.clipboard.writeText(text).then(done, () => {}); return; }
  const area = el("textarea", {});
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  done();
}
