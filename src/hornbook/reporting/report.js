// Values under the pointer. Everything else on this page works without a script.
"use strict";
const tip = document.getElementById("tip");

function show(event, rows) {
  tip.replaceChildren(...rows.map(([name, value, colour]) => {
    const row = document.createElement("div"), label = row.appendChild(document.createElement("b"));
    label.textContent = name;
    if (colour !== undefined) label.className = `c${colour}`;
    row.appendChild(document.createElement("span")).textContent = value;
    return row;
  }));
  tip.hidden = false;
  const size = tip.getBoundingClientRect();
  tip.style.left = `${event.clientX + 16 + size.width < innerWidth ? event.clientX + 16 : Math.max(4, event.clientX - size.width - 16)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 16, innerHeight - size.height - 4))}px`;
}

// Pointer to the units of the drawing.
function place(svg, event) {
  const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
  return [(event.clientX - box.left) / box.width * view.width, (event.clientY - box.top) / box.height * view.height];
}

const said = value => typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: 5 }) : value;

// Index of the number in ascending `all` that is nearest to `wanted`.
function nearest(all, wanted) {
  let low = 0, high = all.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (all[middle] < wanted) low = middle + 1; else high = middle;
  }
  return low > 0 && wanted - all[low - 1] < all[low] - wanted ? low - 1 : low;
}

// The horizontal axis that is chosen for all curves, if the drawing has it.
function axisOf(scale) {
  const chosen = document.querySelector(".across input:checked")?.value;
  return chosen in scale.x ? chosen : Object.keys(scale.x)[0];
}

// Places of a line along an axis: as they are, or so many to a step.
const across = (line, axis) =>
  typeof line.x[axis] === "number" ? line.x.step.map(step => step * line.x[axis]) : line.x[axis];

for (const svg of document.querySelectorAll(".plot .drawing")) {
  const scale = JSON.parse(svg.dataset.scale), cursor = svg.querySelector(".cursor");
  const data = JSON.parse(svg.closest("figure").querySelector("script").textContent);
  const [left, right, top, bottom] = scale.box;
  svg.addEventListener("pointermove", event => {
    const [at] = place(svg, event);
    const axis = axisOf(scale), [low, high] = scale.x[axis], wanted = low + (at - left) / (right - left) * (high - low);
    const close = data.lines.filter(line => line.y.length).map(line => {
      const all = across(line, axis), index = nearest(all, wanted);
      return [line, index, Math.abs(all[index] - wanted), all[index]];
    });
    const reach = Math.max(Math.min(...close.map(each => each[2])) * 1.01, (high - low) / 40);
    const within = close.filter(each => each[2] <= reach);
    if (at < left - 8 || at > right + 8 || !within.length) { tip.hidden = true; cursor.setAttribute("hidden", ""); return; }
    const here = within.reduce((best, each) => each[2] < best[2] ? each : best)[3];
    const x = left + (here - low) / (high - low) * (right - left);
    for (const [name, value] of [["x1", x], ["x2", x], ["y1", top], ["y2", bottom]]) cursor.setAttribute(name, value);
    cursor.removeAttribute("hidden");
    show(event, [[data.axes[axis], said(here)], ...within.map(([line, i]) =>
      [line.label, line.y[i] === null ? "not finite" : said(line.y[i]), line.colour])]);
  });
  svg.addEventListener("pointerleave", () => { tip.hidden = true; cursor.setAttribute("hidden", ""); });
}

for (const svg of document.querySelectorAll(".heat .drawing")) {
  const [left, right, top, bottom] = JSON.parse(svg.dataset.area);
  const data = JSON.parse(svg.closest("figure").querySelector("script").textContent), rows = Object.entries(data.rows);
  svg.addEventListener("pointermove", event => {
    const [x, y] = place(svg, event);
    const row = rows[Math.floor((y - top) / (bottom - top) * rows.length)];
    const column = Math.floor((x - left) / (right - left) * data.steps.length);
    if (!row || x < left || x >= right || y < top) { tip.hidden = true; return; }
    show(event, [[row[0], ""], ["step", said(data.steps[column])], ["value", said(row[1][column])]]);
  });
  svg.addEventListener("pointerleave", () => { tip.hidden = true; });
}
