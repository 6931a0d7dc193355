"use strict";
// Draws the report from the data in this page. Names come as text, and go into the page as text only.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const whole = (number) => number.toLocaleString("en-US");

function bytes(number) {
  if (number < 1000) return `${number} B`;
  const units = ["KB", "MB", "GB", "TB"];
  let unit = -1;
  do { number /= 1000; unit += 1; } while (number >= 999.95 && unit + 1 < units.length);
  return `${number.toFixed(1)} ${units[unit]}`;
}

// "1 key", "2 keys".
const count = (number, name) => `${whole(number)} ${number === 1 ? name : name.endsWith("y") && !name.endsWith("ey") ? `${name.slice(0, -1)}ies` : `${name}s`}`;

// A long name with its middle left out: its beginning says what it is, its end which.
const shorten = (name, most = 160) => name.length <= most ? name
  : `${name.slice(0, most - 40)} … ${whole(name.length - most)} characters … ${name.slice(-40)}`;

const share = (part, all) => `${(all ? 100 * part / all : 0).toFixed(1)} %`;

function put(parent, name, text, attributes = {}) {
  const child = document.createElement(name);
  if (text !== undefined && text !== null) child.textContent = text;
  for (const [key, value] of Object.entries(attributes)) child.setAttribute(key, value);
  parent.append(child);
  return child;
}

function draw(parent, name, attributes, text) {
  const child = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) child.setAttribute(key, value);
  if (text !== undefined) child.textContent = text;
  parent.append(child);
  return child;
}

// Columns: [title, kind]; kind is "", "nowrap", "number", "key" or "bar", whose cells are [part, all].
function table(parent, columns, rows, classes = () => "") {
  if (rows.length === 0) return put(parent, "p", "none", { class: "empty" });
  const frame = put(put(parent, "div", null, { class: "scroll" }), "table");
  const head = put(put(frame, "thead"), "tr");
  for (const [title, kind] of columns) put(head, "th", title, { class: kind, scope: "col" });
  const body = put(frame, "tbody");
  rows.forEach((row, index) => {
    const line = put(body, "tr", null, { class: classes(index) });
    row.forEach((cell, column) => {
      const kind = columns[column][1];
      if (kind === "key" && cell.length > 160) return put(line, "td", shorten(cell), { class: kind, title: cell.slice(0, 2000) });
      if (kind !== "bar") return put(line, "td", cell, { class: kind });
      const fill = put(put(put(line, "td", null, { class: "bar" }), "div", null, { class: "track" }), "div", null, { class: "fill" });
      const part = cell[1] ? 100 * cell[0] / cell[1] : 0;
      fill.style.width = `${part}%`;
      if (cell[0] === 0) fill.style.minWidth = "0";
    });
  });
}

function summary() {
  at("title").textContent = data.file;
  document.title = `${data.file}: memory`;
  at("subtitle").textContent = `${data.header}, ${bytes(data.file_bytes)}${data.writer ? `, written by ${data.writer}` : ""}`;
  const cards = [
    ["Estimated used_memory", bytes(data.used_memory), `in ${data.server} with ${data.allocator}, an empty server included`],
    ["Keys", whole(data.keys), `${whole(data.expiring)} with an expiry`],
    ["Data", bytes(data.data_bytes), `of which tables ${bytes(data.table_bytes)}`],
    ["Average key", bytes(data.keys ? Math.round(data.key_bytes / data.keys) : 0), "name, value and entries"],
    ["Databases", whole(data.databases.length), count(data.functions, "function library")],
  ];
  if (data.writer_used !== null) cards.push(["Used by the writer", bytes(data.writer_used), "used_memory when the file was saved"]);
  for (const [label, value, remark] of cards) {
    const card = put(at("summary"), "div");
    put(card, "div", label, { class: "label" });
    put(card, "div", value, { class: "value" });
    put(card, "div", remark, { class: "label" });
  }
  const loaded = put(at("summary"), "div", null, { class: "wide" });
  put(loaded, "div", "Loaded by", { class: "label" });
  put(loaded, "div", data.loaded_by.join(", ") || "no server that is known here");
  for (const note of data.notes) put(at("notes"), "li", note);
}

function types() {
  const rows = [], parts = new Set();
  for (const type of data.types) {
    const cells = (name, row) => [name, [row.bytes, data.key_bytes], bytes(row.bytes), share(row.bytes, data.key_bytes),
      whole(row.keys), bytes(row.keys ? Math.round(row.bytes / row.keys) : 0), bytes(row.largest), whole(row.elements)];
    rows.push(cells(type.name, type));
    if (type.encodings.length === 1) { if (type.name !== type.encodings[0].name) rows[rows.length - 1][0] = `${type.name} (${type.encodings[0].name})`; continue; }
    for (const encoding of type.encodings) { parts.add(rows.length); rows.push(cells(encoding.name, encoding)); }
  }
  table(at("types"), [["Type", ""], ["", "bar"], ["Memory", "number"], ["Share", "number"], ["Keys", "number"],
    ["Average", "number"], ["Largest", "number"], ["Elements", "number"]], rows, (index) => parts.has(index) ? "part" : "");
}

function histogram(id, title, rows, label) {
  const most = Math.max(0, ...rows.map((row) => row.keys));
  table(at(id), [[title, "number"], ["Keys", "number"], ["", "bar"], ["Memory", "number"]],
    rows.map((row) => [label(row), whole(row.keys), [row.keys, most], bytes(row.bytes)]));
}

// Boxes of one origin share a hue; what was folded together is grey.
function color(node, hue) {
  if (node.kind === "rest") return "hsl(215 8% var(--light))";
  return `hsl(${hue} ${node.kind === "key" ? 42 : 55}% var(--light))`;
}

// Hues step by the golden angle, so that neighbours differ however many there are.
const hue_of = (index) => Math.round(210 + index * 137.5) % 360;

function describe(node, all) {
  return `${shorten(node.path, 400)}\n${bytes(node.bytes)}, ${share(node.bytes, all)} of all, ${count(node.keys, "key")}`;
}

const cut = (text, room, width) => {
  const most = Math.floor(room / width);
  return text.length <= most ? text : most < 3 ? "" : `${text.slice(0, most - 1)}…`;
};

function prepare(node, path) {
  node.path = node.kind === "rest" ? `${path} ${node.name}` : path + node.name;
  node.children = node.children || [];
  node.children.forEach((child) => { child.parent = node; prepare(child, node.kind === "root" ? "" : node.path); });
  if (node.kind === "root") node.path = node.name;
  const top = (child) => child.parent && child.parent.kind !== "root" ? top(child.parent) : child;
  node.top = () => top(node);
}

// Squarified: rows are laid along the shorter side as long as that makes their boxes squarer.
function squarify(nodes, x, y, width, height) {
  const placed = [];
  const total = nodes.reduce((sum, node) => sum + node.bytes, 0);
  if (total === 0 || width <= 0 || height <= 0) return placed;
  const scale = width * height / total;
  let rest = nodes.slice();
  while (rest.length > 0) {
    const side = Math.min(width, height);
    let row = [], sum = 0, worst = Infinity;
    for (const node of rest) {
      const next = sum + node.bytes * scale;
      const areas = [...row, node].map((one) => one.bytes * scale);
      const now = Math.max(side * side * Math.max(...areas) / (next * next), next * next / (side * side * Math.min(...areas)));
      if (row.length > 0 && now > worst) break;
      row.push(node); sum = next; worst = now;
    }
    const depth = sum / side;
    let along = 0;
    for (const node of row) {
      const length = node.bytes * scale / depth;
      placed.push(width >= height ? [node, x, y + along, depth, length] : [node, x + along, y, length, depth]);
      along += length;
    }
    if (width >= height) { x += depth; width -= depth; } else { y += depth; height -= depth; }
    rest = rest.slice(row.length);
  }
  return placed;
}

function box(svg, node, [x, y, width, height], fill, zoom) {
  const into = node.children.length > 0;
  const group = draw(svg, "g", { class: into ? "box into" : "box" });
  const rect = draw(group, "rect", { x, y, width: Math.max(width, 0.5), height });
  rect.style.fill = fill;
  draw(group, "title", {}, describe(node, root.bytes));
  if (into) {
    group.setAttribute("tabindex", "0");
    group.setAttribute("role", "button");
    group.setAttribute("aria-label", describe(node, root.bytes));
    group.addEventListener("click", (event) => { event.stopPropagation(); zoom(node); });
    group.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); zoom(node); } });
  }
  return group;
}

function trail(id, node, zoom) {
  const path = at(id);
  path.replaceChildren();
  const steps = [];
  for (let step = node; step; step = step.parent) steps.unshift(step);
  for (const step of steps) {
    if (step !== steps[0]) put(path, "span", "›");
    const button = put(path, "button", step.kind === "root" ? "all keys" : step.name, { type: "button" });
    button.addEventListener("click", () => zoom(step));
  }
  put(path, "span", `${bytes(node.bytes)}, ${count(node.keys, "key")}, ${share(node.bytes, root.bytes)} of all`, { class: "label" });
}

function hue(node, within) {
  const top = node.top();
  const of = within.kind === "root" ? top : node;
  return hue_of((of.parent || root).children.indexOf(of));
}

function treemap(node) {
  const place = at("treemap"), width = Math.max(place.clientWidth, 300), height = node.bytes === 0 ? 40 : Math.round(Math.min(520, width * 0.55));
  trail("treemap-path", node, treemap);
  place.replaceChildren();
  place.shown = node;
  const svg = draw(place, "svg", { viewBox: `0 0 ${width} ${height}`, height });
  if (node.bytes === 0) return draw(svg, "text", { x: 10, y: 24, fill: "currentColor" }, "There are no keys.");
  for (const [child, x, y, w, h] of squarify(node.children, 0, 0, width, height)) {
    const tint = hue(child, node);
    const group = box(svg, child, [x, y, w, h], color(child, tint), treemap);
    const inner = child.children.length > 0 && w > 60 && h > 50;
    if (h > 18) label(group, child, x, y, w);
    if (!inner) { if (h > 36 && w > 60) draw(group, "text", { x: x + 5, y: y + 30, class: "small" }, cut(bytes(child.bytes), w - 8, 6.2)); continue; }
    for (const [grandchild, gx, gy, gw, gh] of squarify(child.children, x + 3, y + 20, w - 6, h - 23)) {
      const small = draw(group, "g", { class: "box" });
      draw(small, "title", {}, describe(grandchild, root.bytes));
      const rect = draw(small, "rect", { x: gx, y: gy, width: gw, height: gh });
      rect.style.fill = grandchild.kind === "rest" ? color(grandchild, tint) : `hsl(${tint} 45% calc(var(--light) - 6%))`;
      if (gh > 17 && gw > 34) label(small, grandchild, gx, gy, gw, "small");
      if (gh > 34 && gw > 60) draw(small, "text", { x: gx + 5, y: gy + 28, class: "small" }, cut(bytes(grandchild.bytes), gw - 8, 6.2));
    }
  }
}

function label(group, node, x, y, width, name = "") {
  const text = cut(node.name || '""', width - 8, name ? 6.4 : 7);
  if (text) draw(group, "text", { x: x + 5, y: y + 14, class: name }, text);
}

function flame(node) {
  const place = at("flame"), width = Math.max(place.clientWidth, 300), row = 24;
  const depth = (one) => 1 + Math.max(0, ...one.children.map(depth));
  trail("flame-path", node, flame);
  place.replaceChildren();
  place.shown = node;
  const height = depth(node) * row;
  const svg = draw(place, "svg", { viewBox: `0 0 ${width} ${height}`, height });
  const lay = (one, x, w, level) => {
    if (w < 0.7) return;
    const group = box(svg, one, [x, level * row, w, row - 1], one.kind === "root" ? "var(--line)" : color(one, hue(one, node.kind === "root" ? node : root)), flame);
    if (w > 34) label(group, one, x, level * row + 2, w);
    let along = x;
    for (const child of one.children) {
      const part = one.bytes ? w * child.bytes / one.bytes : 0;
      lay(child, along, part, level + 1);
      along += part;
    }
  };
  lay(node, 0, width, 0);
}

// The same keys by type, encoding and largest keys.
function by_type() {
  const tree = { name: "all keys", kind: "root", keys: data.keys, bytes: data.key_bytes, children: [] };
  for (const type of data.types) {
    const encodings = type.encodings.map((encoding) => {
      const mine = data.largest.filter((key) => key.type === type.name && key.encoding === encoding.name);
      const children = mine.map((key) => ({ name: ` ${key.key}`, kind: "key", keys: 1, bytes: key.bytes }));
      const left = encoding.bytes - mine.reduce((sum, key) => sum + key.bytes, 0), others = encoding.keys - mine.length;
      if (children.length > 0 && others > 0) children.push({ name: `(${count(others, "other")})`, kind: "rest", keys: others, bytes: left });
      return { name: encoding.name, kind: "prefix", keys: encoding.keys, bytes: encoding.bytes, children };
    });
    tree.children.push({ name: `${type.name} `, kind: "prefix", keys: type.keys, bytes: type.bytes, children: encodings });
  }
  return tree;
}

const trees = { "By prefix": data.tree, "By type": by_type() };
for (const tree of Object.values(trees)) prepare(tree, "");
let root = data.tree;

function show(name) {
  root = trees[name];
  for (const button of at("views").children) button.setAttribute("aria-pressed", button.textContent === name);
  treemap(root);
  flame(root);
}

for (const name of Object.keys(trees)) put(at("views"), "button", name, { type: "button" }).addEventListener("click", () => show(name));
summary();
types();
const range = (row) => row.least === row.most ? whole(row.least) : `${whole(row.least)} – ${whole(row.most)}`;
// Bounds are powers of two: from 1024 on they are said in KiB and so on, which are as exact and not as long.
function size_range(row) {
  if (row.least < 1024) return row.least === row.most ? `${row.least} B` : `${whole(row.least)} – ${whole(row.most)} B`;
  const power = Math.min(4, Math.floor(Math.log2(row.least) / 10)), unit = 1024 ** power;
  return `${whole(row.least / unit)} – ${whole((row.most + 1) / unit)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}
histogram("sizes", "Bytes", data.sizes, size_range);
histogram("elements", "Elements", data.elements, range);
histogram("expiry", "Expires", data.keys + data.expiry[0].keys > 0 ? data.expiry : [], (row) => row.name);
// A column that nothing stands in is left out.
const expire = data.largest.some((key) => key.expires);
const largest_row = (key) => [bytes(key.bytes), key.key, key.type === key.encoding ? key.type : `${key.type} (${key.encoding})`,
  key.type === "string" ? "" : whole(key.elements), key.longest > 0 ? bytes(key.longest) : "", key.db, ...(expire ? [key.expires || "never"] : [])];
table(at("largest"), [["Memory", "number"], ["Key", "key"], ["Type", "nowrap"], ["Elements", "number"], ["Longest element", "number"], ["DB", "number"],
  ...(expire ? [["Expires", "nowrap"]] : [])], data.largest.map(largest_row));
if (data.databases.length > 1) {
  table(at("databases"), [["Database", ""], ["", "bar"], ["Memory", "number"], ["Keys", "number"], ["With expiry", "number"]],
    data.databases.map((db) => [`db ${db.db}`, [db.bytes, data.key_bytes], bytes(db.bytes), whole(db.keys), whole(db.expiring)]));
} else { at("databases-section").remove(); }
at("footer").textContent = `Made by rdbtool report at ${data.made_at}. Sizes are estimates of what ${data.server} would use; KB are 1000 bytes.`;
if (data.elements.length === 0) at("elements-section").remove();
// A link may name what it wants to show: report.html#type.
show(location.hash === "#type" ? "By type" : "By prefix");
addEventListener("resize", () => { treemap(at("treemap").shown); flame(at("flame").shown); });
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const [id, zoom] of [["treemap", treemap], ["flame", flame]]) { const up = at(id).shown.parent; if (up) zoom(up); }
});
at("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
});
