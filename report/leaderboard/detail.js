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
  return score.length === 3 ? `${score[1].toFixed(1)}–${score[2].toFixed(1)}` : "";
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

function detail(row) {
  const card = byCard.get(row.card);
  return el("div", { class: "detail" },
    el("p", { class: "links" },
      el("a", { href: row.record }, "record (.json)"),
      el("a", { href: row.ranks }, "ranks (.npz)"),
      row.sheet ? el("a", { href: row.sheet }, "sheet of queries") : el("span", { class: "quiet" }, "no sheet"),
      el("span", { class: "quiet" }, `run ${row.id}, code ${row.code}`)),
    el("div", { class: "scroll" }, scoreTable(row)),
    el("p", { class: "quiet" }, "Check it: ", el("code", {}, `python -m bench verify results/${decodeURIComponent(row.record)}`)),
    el("div", { class: "facts" },
      el("section", {}, el("h3", {}, "Protocol card ", chip(row.card)),
        list([["sha256 of the card", row.card], ...card.fields])),
      ...row.facts.map((index) => {
        const [name, pairs] = DATA.facts[index];
        return el("section", {}, el("h3", {}, name), list(pairs));
      })));
}
