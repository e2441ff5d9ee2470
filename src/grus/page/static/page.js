"use strict";
// What the page asks of the server and shows. All numbers come from the server.

const asked = { text: "", hold: {}, dialect: "", layer: 0, value: "", units: 0, step: -1, unit: 0 };
let model, answer, sliders = {}, busy = false, again = false;

async function ask(question, body) {
  const reply = await fetch(question, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  });
  const found = await reply.json();
  if (!reply.ok) throw new Error(found.error);
  return found;
}

const unanswered = (error) => (error instanceof TypeError ? "The server has ended: start grus serve again." : error.message);

// What stays on the page answers an earlier question, so it is dimmed and the message says so.
function refused(why) {
  document.body.classList.remove("loading");
  document.body.classList.add("stale");
  say(answer ? `${why.replace(/\.?$/, ".")} Dimmed below: the answer before.` : why, true);
}

// One question at a time; what changed in the meantime is asked next.
async function look() {
  if (busy) { again = true; return; }
  busy = true;
  do {
    again = false;
    try {
      const found = await ask("look", asked);
      answer = { ...found, unit: asked.unit, holding: Object.keys(asked.hold).length > 0 };
      say(answer.steps ? read() : "The network has read nothing yet.");
      show();
      await draw(at("plot"), answer, picked);
      await worksheet();
      document.body.classList.remove("loading", "stale");
    } catch (error) {
      refused(unanswered(error));
    }
  } while (again);
  busy = false;
  document.body.dataset.ready = String(Number(document.body.dataset.ready || 0) + 1);
}

function read() {
  const many = answer.steps > answer.symbols.length;
  const last = answer.first + answer.symbols.length;
  const window = many ? `; characters ${answer.first + 1} to ${last} are shown` : "";
  const room = answer.steps >= model.most ? "; that is all that the page reads" : "";
  return `${answer.steps.toLocaleString("en")} character${answer.steps > 1 ? "s" : ""} read${window}${room}`;
}

function show() {
  showValues();
  showNotation();
  showGates();
  showNext();
}

function showValues() {
  const select = at("value");
  if (!answer.steps) { at("here").textContent = ""; return; }
  select.replaceChildren(...answer.values.map(({ name, house, role, held }) => {
    const option = make("option", role ? `${name}, ${role}${held ? " (held)" : ""}` : name);
    option.value = house;
    option.selected = name === answer.value;
    return option;
  }));
  const last = Math.min(answer.units + answer.rows.length, model.hidden);
  at("pages").hidden = model.hidden <= answer.rows.length;
  at("page").textContent = `units ${answer.units + 1} to ${last} of ${model.hidden}`;
  at("before").disabled = answer.units === 0;
  at("after").disabled = last === model.hidden;
  const row = answer.rows[asked.unit - answer.units];
  const number = row ? `: ${answer.value} = ${row[answer.step - answer.first].toFixed(4)}` : "";
  const symbol = shown(answer.symbols[answer.step - answer.first]);
  at("here").textContent = `Step ${answer.step + 1} “${symbol}”, unit ${asked.unit + 1}${number}`;
}

function showNotation() {
  const { equations, notes, mirrored, letters } = answer.notation;
  const widest = Math.max(...equations.map(([name]) => name.length));
  at("equations").textContent = equations.map(([name, text]) => `${name.padEnd(widest)} = ${text}`).join("\n");
  if (!asked.dialect) { at("same").textContent = model.doc; return; }
  const sense = mirrored.map((gate) => `Near 1, ${letters[gate]} takes in what is new; ${gate} as trained keeps the old. `).join("");
  const apart = answer.apart ? `differ by at most ${answer.apart.toExponential(1)}` : "do not differ";
  const same = answer.steps ? `The predictions ${apart}: the same function.` : "";
  const set = notes.filter((note) => note.startsWith("set ")).map((note) => `${note}. `).join("");
  at("same").textContent = sense + set + same;
}

function showGates() {
  for (const [gate, slider] of Object.entries(sliders)) {
    const flipped = answer.notation.mirrored.includes(gate);
    const own = answer.notation.letters[gate];
    slider.name.textContent = own;
    slider.range.setAttribute("aria-label", `${own} is held at`);
    const held = gate in asked.hold;
    slider.box.checked = held;
    slider.row.classList.toggle("on", held);
    if (held) slider.range.value = flipped ? 1 - asked.hold[gate] : asked.hold[gate];
    slider.output.textContent = held ? Number(slider.range.value).toFixed(2) : "free";
  }
  at("release").hidden = !answer.holding;
}

function showNext() {
  const list = at("next");
  list.classList.toggle("two", answer.holding);
  at("legend").hidden = !answer.holding;
  if (!answer.steps) { list.replaceChildren(); at("bits").textContent = at("after-what").textContent = ""; return; }
  const before = answer.symbols.slice(0, answer.step - answer.first + 1).slice(-20).map(shown).join("");
  at("after-what").textContent = `after …${before}`;
  const most = Math.max(...answer.predictions.flatMap((one) => [one.held, one.free]));
  list.replaceChildren(...answer.predictions.map((one) => {
    const item = make("li"), bars = make("div", "", "bars"), chance = make("span", "", "chance");
    for (const kind of answer.holding ? ["free", "held"] : ["free"]) {
      const bar = make("i", "", kind);
      bar.style.width = `${(100 * one[kind]) / most}%`;
      bars.append(bar);
      chance.append(make("span", percent(one[kind])), make("br"));
    }
    item.append(make("span", shown(one.symbol), "symbol"), bars, chance);
    return item;
  }));
  const cost = (bits) => `${bits.toFixed(2)} bits`;
  at("bits").textContent = answer.bits === null ? "" : answer.holding
    ? `A character of this text costs ${cost(answer.bits)} held, ${cost(answer.free_bits)} as trained.`
    : `A character of this text costs it ${cost(answer.free_bits)} on average.`;
}

async function worksheet() {
  const sheet = at("sheet");
  if (!answer.steps) { sheet.replaceChildren(make("p", "Type a character to work it out.")); return; }
  const found = await ask("worksheet", { ...asked, step: answer.step });
  at("work-title").textContent = `Worksheet: step ${answer.step + 1} “${shown(found.symbol)}”`;
  at("unit").value = asked.unit + 1;
  const named = (states) => Object.entries(states).map(([name, number]) => `${name} = ${number}`).join(", ");
  const parts = [make("p", `Unit ${asked.unit + 1} of layer ${found.layer} found ${named(found.before)} and leaves ${named(found.after)}.`)];
  for (const { symbols, lines } of found.equations) {
    parts.push(make("h3", symbols));
    lines.forEach((line, k) => parts.push(make("div", line, k === lines.length - 1 ? "line value" : "line")));
  }
  parts.push(make("p", `Values are those of ${found.by}, printed to ${found.digits} decimals.`));
  sheet.replaceChildren(...parts);
}

function change(what) {
  Object.assign(asked, what);
  return look();
}

function go(steps, units) {
  if (!answer || !answer.steps) return;
  // From what was asked last: the answer to it may still be on its way.
  const from = asked.step < 0 ? answer.step : asked.step;
  const step = Math.min(Math.max(from + steps, 0), answer.steps - 1);
  const unit = Math.min(Math.max(asked.unit + units, 0), model.hidden - 1);
  answer.step = step;
  change({ step, unit, units: page(unit) });
}

// A file that runs without this server, to keep.
async function save() {
  at("save").disabled = true;
  say("Building the page …");
  try {
    const { name, text } = await ask("save", {});
    const link = make("a"), address = URL.createObjectURL(new Blob([text], { type: "text/html" }));
    Object.assign(link, { href: address, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    say(`Saved as ${name}, ${text.length.toLocaleString("en")} characters.`);
  } catch (error) {
    say(unanswered(error), true);
  }
  at("save").disabled = false;
}

const page = (unit) => Math.floor(unit / model.page) * model.page;

function picked({ points }) {
  const [{ x, y, data }] = points;
  const unit = data.type === "heatmap" ? y - 1 : asked.unit;
  at("plot").focus();
  change({ step: x - 1, unit, units: page(unit) });
}

function keys(event) {
  const moves = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
    Home: [-Infinity, 0], End: [Infinity, 0], PageUp: [0, -model.page], PageDown: [0, model.page],
  };
  if (event.key === "Escape") { at("text").focus(); change({ step: -1 }); event.preventDefault(); }
  if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  go(...moves[event.key]);
}

function gateSlider(gate) {
  const row = make("div", undefined, "gate"), label = make("label"), name = make("b", gate);
  const box = make("input"), range = make("input"), output = make("output", "free");
  Object.assign(box, { type: "checkbox" });
  Object.assign(range, { type: "range", min: 0, max: 1, step: 0.01, value: 0.5 });
  label.append(box, "hold ", name);
  row.append(label, output, range);
  const hold = (on) => {
    const rest = { ...asked.hold };
    delete rest[gate];
    const flipped = answer.notation.mirrored.includes(gate);
    const number = flipped ? 1 - Number(range.value) : Number(range.value);
    change({ hold: on ? { ...rest, [gate]: number } : rest });
  };
  box.addEventListener("change", () => hold(box.checked));
  range.addEventListener("input", () => hold(true));
  sliders[gate] = { row, name, box, range, output };
  return row;
}

function options(select, given) {
  select.replaceChildren(...given.map(([value, text, off]) => {
    const option = make("option", text);
    Object.assign(option, { value, disabled: Boolean(off), title: off || "" });
    return option;
  }));
}

function prepare() {
  at("about").textContent = `${model.cell}, ${model.layers} × ${model.hidden} units, ${[...model.symbols].length} characters: ${model.about}`;
  const refused = Object.entries(model.refused);
  options(at("dialect"), [
    ["", `${model.cell}, as trained`], ...model.dialects.map((title) => [title, title]),
    ...refused.map(([title, why]) => [title, `${title} (cannot say it)`, why]),
  ]);
  at("cannot").hidden = refused.length === 0;
  at("cannot").querySelector("summary").textContent = `${refused.length} dialects cannot say this network: why`;
  at("cannot").querySelector("dl").replaceChildren(
    ...refused.flatMap(([title, why]) => [make("dt", title), make("dd", why.replace(`${title} `, ""))]));
  options(at("layer"), Array.from({ length: model.layers }, (_, k) => [k, k + 1]));
  at("layer-label").hidden = model.layers === 1;
  at("gates").replaceChildren(...model.gates.map(gateSlider));
  at("hold").hidden = model.gates.length === 0;
  at("unit").max = model.hidden;
  at("text").maxLength = model.most;
}

function listen() {
  at("text").addEventListener("input", () => change({ text: at("text").value, step: -1 }));
  at("value").addEventListener("change", () => change({ value: at("value").value }));
  at("layer").addEventListener("change", () => change({ layer: Number(at("layer").value) }));
  at("dialect").addEventListener("change", () => change({ dialect: at("dialect").value }));
  at("release").addEventListener("click", () => { change({ hold: {} }); at("text").focus(); });
  at("before").addEventListener("click", () => change({ units: answer.units - model.page, unit: answer.units - model.page }));
  at("after").addEventListener("click", () => change({ units: answer.units + model.page, unit: answer.units + model.page }));
  at("unit").addEventListener("change", () => {
    const unit = Math.min(Math.max(Math.round(Number(at("unit").value)) || 1, 1), model.hidden) - 1;
    change({ unit, units: page(unit) });
  });
  at("save").addEventListener("click", save);
  at("plot").addEventListener("keydown", keys);
  // Its box also changes where the window does not: the text box can be drawn taller.
  new ResizeObserver(() => at("plot").data && Plotly.Plots.resize(at("plot"))).observe(at("plot"));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target !== at("plot")) { at("text").focus(); change({ step: -1 }); }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => answer && draw(at("plot"), answer, picked));
}

async function start() {
  try {
    model = await ask("model", {});
  } catch (error) {
    refused(error.message);
    return;
  }
  prepare();
  listen();
  asked.text = [...SAMPLE].filter((symbol) => model.symbols.includes(symbol)).join("");
  asked.value = model.gates.at(-1) || "";
  at("text").value = asked.text;
  at("text").readOnly = false;
  at("text").focus();
  await look();
}

start();
