// What hovering, searching and the boxes of a page of tokens do. The page can be read without it.
"use strict";
const vocabulary = JSON.parse(document.getElementById("vocabulary").textContent); // id -> [bytes in hex, facts...]
const tip = document.getElementById("tip");
const tokens = [...document.querySelectorAll("b[data-i]")];
const counts = new Map();
for (const token of tokens) counts.set(token.dataset.i, (counts.get(token.dataset.i) || 0) + 1);

const LABELS = [["w", "weight"], ["read", "read as"], ["m", "mask probability"], ["d", "document"], ["p", "position"]];
const STATES = ["trained", "masked", "context", "pad"];

function describe(token) {
  const [hex, ...facts] = vocabulary[token.dataset.v || ""][token.dataset.i];
  const rows = [["id", token.dataset.i], ["bytes", hex.replace(/(..)(?=.)/g, "$1 ")], ...facts];
  if (token.dataset.of) rows.push(["part of", token.dataset.of]);
  const state = STATES.find(each => token.classList.contains(each));
  if (state) rows.push(["label", state]);
  for (const [key, name] of LABELS) if (token.dataset[key]) rows.push([name, token.dataset[key]]);
  rows.push(["on this page", counts.get(token.dataset.i).toLocaleString()]);
  const list = document.createElement("dl");
  for (const [name, value] of rows) {
    list.appendChild(document.createElement("dt")).textContent = name;
    list.appendChild(document.createElement("dd")).appendChild(document.createElement("code")).textContent = value;
  }
  tip.replaceChildren(list);
  tip.hidden = false;
  const place = token.getClientRects()[0], size = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(place.left, innerWidth - size.width - 8))}px`;
  const below = place.bottom + 8;
  tip.style.top = `${below + size.height < innerHeight ? below : Math.max(4, place.top - size.height - 8)}px`;
}
for (const happening of ["mouseover", "click"]) document.addEventListener(happening, event => {
  const token = event.target.closest("b[data-i]");
  if (token) describe(token); else tip.hidden = true;
});
addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

// Searching looks at the text of each document's tokens as it is shown; "#262" looks for an id.
const search = document.getElementById("search"), found = document.getElementById("found");
const sections = [...document.querySelectorAll("section.document")];
let hits = [], now = -1;

function hitsIn(section, wanted) {
  const own = [...section.querySelectorAll(".tokens b[data-i]")];
  if (/^#[0-9]+$/.test(wanted)) return own.filter(token => token.dataset.i === wanted.slice(1)).map(token => [token]);
  const starts = [], result = [];
  let text = "";
  for (const token of own) { starts.push(text.length); text += token.textContent.toLowerCase(); }
  let at = text.indexOf(wanted), first = 0;
  while (at >= 0) {
    while (first + 1 < own.length && starts[first + 1] <= at) first++;
    let last = first;
    while (last + 1 < own.length && starts[last + 1] < at + wanted.length) last++;
    result.push(own.slice(first, last + 1));
    at = text.indexOf(wanted, at + wanted.length);
  }
  return result;
}

function look() {
  for (const token of document.querySelectorAll("b.hit, b.now")) token.classList.remove("hit", "now");
  hits = []; now = -1;
  const wanted = search.value.toLowerCase(), only = document.getElementById("only").checked;
  for (const section of sections) {
    const own = wanted ? hitsIn(section, wanted) : [];
    section.classList.toggle("without", Boolean(wanted && only && !own.length));
    for (const run of own) hits.push(run);
  }
  for (const run of hits) for (const token of run) token.classList.add("hit");
  found.textContent = wanted ? `${hits.length.toLocaleString()} found` : "";
}

function go(by) {
  if (!hits.length) return;
  if (now >= 0) for (const token of hits[now]) token.classList.remove("now");
  now = now < 0 ? (by > 0 ? 0 : hits.length - 1) : (now + by + hits.length) % hits.length;
  for (const token of hits[now]) token.classList.add("now");
  hits[now][0].scrollIntoView({ block: "center" });
  found.textContent = `${(now + 1).toLocaleString()} of ${hits.length.toLocaleString()}`;
}

let waiting = 0;
search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(look, 150); });
search.form.addEventListener("submit", event => { event.preventDefault(); if (now < 0) look(); go(1); });
document.getElementById("next").addEventListener("click", () => go(1));
document.getElementById("previous").addEventListener("click", () => go(-1));
document.getElementById("only").addEventListener("change", look);
for (const box of document.querySelectorAll("input[data-class]")) {
  const show = () => document.body.classList.toggle(box.dataset.class, box.checked);
  box.addEventListener("change", show);
  show();
}

// The arrow keys go from one document to the next; in a field they move the cursor.
document.addEventListener("keydown", event => {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by || event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input")) return;
  const shown = sections.filter(section => !section.classList.contains("without"));
  const edge = document.querySelector(".tools").offsetHeight + 2;
  const isBehind = section => by > 0 ? section.getBoundingClientRect().top > edge + 8
    : section.getBoundingClientRect().top < edge - 8;
  const wanted = by > 0 ? shown.find(isBehind) : shown.reverse().find(isBehind);
  if (!wanted) return;
  event.preventDefault();
  wanted.style.scrollMarginTop = `${edge}px`;
  wanted.scrollIntoView({ block: "start" });
});
