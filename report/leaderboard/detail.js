"use strict";
// What a row opens: its scores, its card, timings and whatever else its record says.

// Texts become text: nothing from a record is ever read as markup.
function el(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key in element && typeof value === "function") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function interval(score) {
  return score[1] === null ? "" : `${score[1].toFixed(0)}–${score[2].toFixed(0)}`;
}

function chip(sha) {
  return el("span", { class: "chip", title: byCard.get(sha).gist }, glyphIcon(sha), el("code", {}, sha.slice(0, 8)));
}

function list(pairs) {
  return el("dl", {}, ...pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function scoreTable(row) {
  const names = DATA.protocols.filter((name) => name in row.scores);
  return el("table", { class: "scores" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Score, %"), ...names.map((name) => el("th", { scope: "col" }, name, el("small", {}, `${row.scored[name]} queries`))))),
    el("tbody", {}, ...byCard.get(row.card).metrics.map(([label, id], index) =>
      el("tr", {}, el("th", { scope: "row", title: id }, label), ...names.map((name) => {
        const score = row.scores[name][index];
        return el("td", {}, score ? score[0].toFixed(2) : NONE, score ? el("small", {}, interval(score)) : null);
      })))));
}

// What records state beyond scores and card: read when a row is opened, for it is most of the page.
let facts = null;
function factsOf(index) {
  facts = facts || JSON.parse(document.getElementById("facts").textContent);
  return facts[index];
}

function fact(name, value, unit) {
  return value === null || value === undefined ? null : [name, `${typeof value === "number" ? THREE_DIGITS.format(value) : value}${unit ? ` ${unit}` : ""}`];
}

// Ten lines that matter, the command and the links; the record in full below, folded.
function detail(row) {
  const card = byCard.get(row.card);
  const copy = el("button", { type: "button", class: "copy", onclick: (event) => copyText(row.command, event.target) }, "copy");
  const published = DATA.sources[row.name] || [];
  const lines = [
    fact("trained on", row.training), fact("network", row.backbone === "not stated" ? null : `${row.backbone}${row.parameters ? `, ${THREE_DIGITS.format(row.parameters / 1e6)} M parameters` : ""}${row.flops ? `, ${THREE_DIGITS.format(row.flops / 1e9)} GFLOPs` : ""}`),
    fact("protocol", card.gist), fact("system", row.chain),
    fact("a query takes", row.query, "ms"), row.latency ? ["of it describe", `${THREE_DIGITS.format(row.latency[0])} ms (p95 ${THREE_DIGITS.format(row.latency[1])} ms) on ${row.device}`] : null,
    fact("throughput", row.speed, "images/s"), fact("an image needs", memoryAndDisk(row), `bytes${row.disk ? ", memory + disk" : ""}, ${WHOLE.format(row.dim)} numbers`),
    fact("measured", `${row.created.slice(0, 10)}, code ${row.code}`),
  ].filter(Boolean);
  return el("div", { class: "detail" },
    el("div", { class: "scroll" }, scoreTable(row)),
    list(lines),
    el("p", { class: "command" }, el("code", {}, row.command), " ", copy),
    el("p", { class: "links" },
      el("a", { href: row.record }, "record (.json)"), el("a", { href: row.ranks }, "ranks (.npz)"),
      row.sheet ? el("a", { href: row.sheet }, "sheet of queries") : el("span", { class: "quiet" }, "no sheet"),
      ...published.map(([words, url]) => el("a", { href: url, rel: "noreferrer" }, words))),
    el("details", { class: "more-facts" }, el("summary", {}, "Card and record in full"),
      el("p", { class: "quiet" }, "Check it: ", el("code", {}, `python -m bench verify results/${decodeURIComponent(row.record)}`)),
      el("div", { class: "facts" },
        el("section", {}, el("h3", {}, "Protocol card ", chip(row.card)), list([["id of the card", row.card], ...card.fields])),
        ...row.facts.map((index) => {
          const [name, pairs] = factsOf(index);
          return el("section", {}, el("h3", {}, name), list(pairs));
        }))));
}
