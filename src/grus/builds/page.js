// A character model that reads and writes in a page by itself: what steps compute, and its picture.

const LIKELIEST = 5, NARROWEST = 12, WIDEST = 60, COLUMN = 12;
const facts = JSON.parse(at("facts").textContent);
const places = new Map(facts.symbols.map((symbol, k) => [symbol, k]));
const looked = { step: -1, layer: 0, unit: 0 };
// What was read and written, {symbol, scores, state} each; the first `typed` stand in the text box.
let stream, steps = [], typed = 0, turn = 0;

// Ordinary text as symbols, and back: characters, or the bytes of UTF-8 as characters.
const split = (text) => (facts.bytes ? Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)) : [...text]);
const joined = (symbols) => (facts.bytes ? new TextDecoder().decode(Uint8Array.from(symbols, (one) => one.charCodeAt(0))) : symbols.join(""));

const state = () => stream.model.floats(stream.state, facts.state);

function step(symbol) {
  const place = places.get(symbol);
  const scores = stream.step(facts.onehot ? Float32Array.from(facts.symbols, (_, k) => Number(k === place)) : place);
  steps.push({ symbol, scores, state: state().slice() });
}

// Go back to where `count` symbols were read.
function cut(count) {
  steps.length = count;
  if (count) state().set(steps[count - 1].state); else stream.reset();
}

// Read a text; what it begins with as before is kept.
function read() {
  turn += 1;
  const given = split(at("text").value);
  const known = given.filter((symbol) => places.has(symbol));
  const changed = steps.findIndex(({ symbol }, k) => symbol !== known[k]);
  cut(changed < 0 ? steps.length : changed);
  known.slice(steps.length).forEach(step);
  typed = steps.length;
  looked.step = -1;
  const unknown = [...new Set(given.filter((symbol) => !places.has(symbol)))].map(shown).join(" ");
  say(unknown ? `The model does not know ${unknown}, which it left out. ${many(typed)} read.` : `${many(typed)} read.`, unknown);
  at("written").textContent = "";
  show();
}

const many = (count) => `${count.toLocaleString("en")} ${facts.bytes ? "byte" : "character"}${count === 1 ? "" : "s"}`;

function shares(scores, temperature = 1) {
  const most = scores.reduce((a, b) => Math.max(a, b));
  const above = Array.from(scores, (score) => Math.exp((score - most) / temperature));
  const sum = above.reduce((a, b) => a + b);
  return above.map((one) => one / sum);
}

// Marsaglia's xorshift32 (2003): numbers from 0 to below 1, the same ones for a seed everywhere.
function draws(seed) {
  let bits = Math.imul(seed + 1, 0x9e3779b1);
  return () => {
    bits ^= bits << 13;
    bits ^= bits >>> 17;
    bits ^= bits << 5;
    return (bits >>> 0) / 2 ** 32;
  };
}

function drawn(scores, temperature, draw) {
  if (temperature === 0) return scores.indexOf(scores.reduce((a, b) => Math.max(a, b)));
  let left = draw();
  const place = shares(scores, temperature).findIndex((share) => (left -= share) < 0);
  return place < 0 ? scores.length - 1 : place;
}

// One symbol for each picture that is drawn, so that it can be watched; without motion, all at once.
async function write(event) {
  event.preventDefault();
  if (!typed) { say("Type a character first: it continues the text.", true); return; }
  const [temperature, length, seed] = ["temperature", "length", "seed"].map((id) => Number(at(id).value));
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches, draw = draws(seed);
  const started = turn += 1;
  cut(typed);
  looked.step = -1;
  say("Writing …");
  show(true);
  for (let count = 0, shownAt = performance.now(); count < length && turn === started; ++count) {
    step(facts.symbols[drawn(steps.at(-1).scores, temperature, draw)]);
    if (still && performance.now() - shownAt < 100) continue;
    show(true);
    await new Promise(requestAnimationFrame);
    shownAt = performance.now();
  }
  if (turn === started) stop();
}

function stop() {
  turn += 1;
  say(`${many(typed)} read, ${many(steps.length - typed)} written.`);
  show();
}

const current = () => (looked.step < 0 ? steps.length - 1 : looked.step);

function show(writing = false) {
  at("go").disabled = writing;
  at("stop").disabled = !writing;
  const written = joined(steps.slice(typed).map(({ symbol }) => symbol));
  if (at("written").textContent !== written) {
    at("written").textContent = written;
    at("written").scrollTop = at("written").scrollHeight;
  }
  showNext();
  showStrips();
}

function showNext() {
  const last = current(), before = steps.slice(Math.max(0, last - 19), last + 1).map(({ symbol }) => shown(symbol));
  at("after-what").textContent = before.length ? `after …${before.join("")}` : "";
  const all = before.length ? shares(steps[last].scores) : [];
  const likeliest = [...all.keys()].sort((a, b) => all[b] - all[a]).slice(0, LIKELIEST);
  at("next").replaceChildren(...likeliest.map((k) => {
    const item = make("li"), bars = make("div", "", "bars"), bar = make("i", "", "free");
    const chance = make("data", percent(all[k]), "chance");
    chance.value = all[k];
    bar.style.width = `${(100 * all[k]) / all[likeliest[0]]}%`;
    bars.append(bar);
    item.append(make("span", shown(facts.symbols[k]), "symbol"), bars, chance);
    return item;
  }));
}

// The layers that have the value that is shown, with where it stands in the state.
const strips = () => facts.layers.flatMap(({ name, values }) => {
  const value = values.find((one) => one.name === at("value").value);
  return value ? [{ layer: name, ...value }] : [];
});

function span() {
  const columns = Math.min(Math.max(Math.floor(at("strips").clientWidth / COLUMN), NARROWEST), WIDEST);
  const first = Math.max(0, Math.min(current() - Math.floor(columns / 2), steps.length - columns));
  return { columns, first, visible: steps.slice(first, first + columns) };
}

function showStrips() {
  const list = strips(), { columns, first, visible } = span(), column = current() - first;
  const flat = list.flatMap((one) => visible.map((each) => Math.max(...values(each, one).map(Math.abs))));
  const gate = list.some((one) => one.gate), most = Math.max(1, ...flat);
  const [low, high, stops] = gate ? [0, 1, GATES] : [-most, most, stateColours()];
  showScale(low, high, stops);
  looked.layer = Math.min(looked.layer, list.length - 1);
  looked.unit = list.length ? Math.min(looked.unit, list[looked.layer].count - 1) : 0;
  const colours = palette(stops), place = (value) => Math.round((255 * (value - low)) / (high - low));
  at("strips").replaceChildren(...list.map((one, k) => {
    const cells = make("div", undefined, "cells"), panel = make("div", undefined, "panel");
    const picture = canvas(columns, one.count, visible.map((each) => values(each, one)), (value) => colours[place(value)]);
    cells.append(picture, ...(visible.length ? [mark(column, columns, 0, 1)] : []));
    if (visible.length && k === looked.layer) cells.append(mark(column, columns, looked.unit / one.count, 1 / one.count));
    cells.addEventListener("pointerdown", (event) => {
      const box = cells.getBoundingClientRect();
      const across = Math.floor(((event.clientX - box.x) * columns) / box.width);
      const unit = Math.floor(((event.clientY - box.y) * one.count) / box.height);
      at("strips").focus();
      look(Math.min(first + across, steps.length - 1), k, unit);
    });
    panel.append(make("h3", `${one.layer}: ${one.name}, ${one.count} units`), cells);
    return panel;
  }));
  at("symbols").style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
  at("symbols").replaceChildren(...visible.map(({ symbol }, k) => {
    const kinds = [...(first + k >= typed ? ["written"] : []), ...(k === column ? ["here"] : [])];
    return make("span", shown(symbol), kinds.join(" "));
  }));
  const one = list[looked.layer];
  at("here").textContent = one && visible.length ? `Step ${current() + 1} “${shown(visible[column].symbol)}”, ${one.layer}, unit ${looked.unit + 1}: ${one.name} = ${values(visible[column], one)[looked.unit].toFixed(4)}` : "";
}

const values = ({ state: numbers }, { first, count }) => numbers.subarray(first, first + count);

function showScale(low, high, stops) {
  const bar = make("i");
  bar.style.background = `linear-gradient(to right, ${stops.map(([, ink]) => ink).join(", ")})`;
  at("scale").replaceChildren(low.toFixed(low % 1 ? 2 : 0), bar, high.toFixed(high % 1 ? 2 : 0));
}

// 256 colours between the stops.
function palette(stops) {
  const context = Object.assign(make("canvas"), { width: 256, height: 1 }).getContext("2d");
  const ramp = context.createLinearGradient(0.5, 0, 255.5, 0);
  stops.forEach(([place, ink]) => ramp.addColorStop(place, ink));
  context.fillStyle = ramp;
  context.fillRect(0, 0, 256, 1);
  const { data } = context.getImageData(0, 0, 256, 1);
  return Array.from({ length: 256 }, (_, k) => data.subarray(4 * k, 4 * k + 4));
}

// One pixel for each unit and step, stretched by the style.
function canvas(width, height, columns, inked) {
  const picture = Object.assign(make("canvas"), { width, height });
  picture.setAttribute("aria-hidden", "true");
  const context = picture.getContext("2d"), image = context.createImageData(width, height);
  columns.forEach((numbers, x) => numbers.forEach((value, y) => image.data.set(inked(value), 4 * (y * width + x))));
  context.putImageData(image, 0, 0);
  return picture;
}

function mark(column, columns, top, height) {
  const box = make("i");
  Object.assign(box.style, {
    left: `calc(${(100 * column) / columns}% - 1px)`, width: `${100 / columns}%`,
    top: `calc(${100 * top}% - 1px)`, height: `${100 * height}%`,
  });
  return box;
}

function look(step_, layer, unit) {
  if (!steps.length) return;
  looked.step = Math.min(Math.max(step_, 0), steps.length - 1);
  looked.layer = Math.min(Math.max(layer, 0), strips().length - 1);
  looked.unit = Math.min(Math.max(unit, 0), strips()[looked.layer].count - 1);
  showNext();
  showStrips();
}

function back() {
  looked.step = -1;
  showNext();
  showStrips();
  at("text").focus();
}

function keys(event) {
  const moves = {
    ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], PageUp: [0, -1, 0], PageDown: [0, 1, 0],
    ArrowUp: [0, 0, -1], ArrowDown: [0, 0, 1], Home: [-Infinity, 0, 0], End: [Infinity, 0, 0],
  };
  if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const [across, layer, unit] = moves[event.key];
  look(current() + across, looked.layer + layer, looked.unit + unit);
}

// The steps that were recorded when the file was built, bit by bit.
function check() {
  const { x, bits } = facts.recorded;
  stream.reset();
  x.forEach((one, t) => {
    const same = new Uint32Array(stream.step(one).buffer).every((word, k) => word === bits[t][k]);
    if (!same) throw new Error(`this browser computes other numbers at step ${t + 1} than ${facts.machine} does`);
  });
  stream.reset();
}

function listen() {
  at("text").addEventListener("input", read);
  at("value").addEventListener("change", showStrips);
  at("write").querySelector("form").addEventListener("submit", write);
  at("stop").addEventListener("click", stop);
  at("strips").addEventListener("keydown", keys);
  document.addEventListener("keydown", (event) => event.key === "Escape" && back());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showStrips);
  addEventListener("resize", showStrips);
}

try {
  const wasm = Uint8Array.from(atob(at("wasm").textContent), (sign) => sign.charCodeAt(0));
  stream = (await load(wasm)).stream();
  check();
  at("about").textContent = `${facts.about}; ${wasm.length.toLocaleString("en")} bytes of WebAssembly in a page of ${Number(facts.size).toLocaleString("en")}; the bits of grus on ${facts.machine}, compared at ${facts.recorded.x.length} steps`;
  const names = new Set(facts.layers.flatMap((layer) => layer.values.map((value) => value.name)));
  at("value").replaceChildren(...[...names].map((name) => make("option", name)));
  at("value").value = facts.layers[0]?.values.findLast((value) => value.gate)?.name ?? [...names][0];
  at("text").value = joined(split(SAMPLE).filter((symbol) => places.has(symbol)));
  listen();
  read();
  at("text").readOnly = false;
  at("text").focus();
  document.body.dataset.ready = "yes";
} catch (error) {
  say(`The network does not run here: ${error.message}`, true);
}
