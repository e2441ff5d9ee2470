"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const pick = (id) => document.getElementById(id);
  const MOST_TOKENS = 110; // labels that fit side by side on a laptop's screen
  const BLUES = ["#f7fbff", "#deebf7", "#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5",
    "#08519c", "#08306b"].map((colour, k) => [k / 8, colour]);
  const COLOURS = ["#0072B2", "#E69F00", "#1a1a1a", "#56B4E9", "#D55E00", "#CC79A7"];
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
  const FONT = { family: 'system-ui, "DejaVu Sans", "Liberation Sans", sans-serif', size: 13 };
  const MONO = { family: '"DejaVu Sans Mono", "Liberation Mono", Consolas, monospace', size: 13 };
  // These buttons and no others: plotly has one that sends the figure to a server.
  const CONFIG = { displaylogo: false, responsive: true, plotlyServerURL: "",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
  const count = data.steps.length;

  // plotly reads a few tags, and formulas between dollars, in its texts: a token is neither.
  const CODES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", $: "&#36;" };
  const plain = (text) => text.replace(/[&<>$]/g, (c) => CODES[c]);
  const tokens = data.tokens && data.tokens.map(plain);

  const said = data.steps.map((step, k) => `step ${step}` + (tokens ? `, token “${tokens[k]}”` : ""));

  function numbers(text) {
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let k = 0; k < raw.length; k++) bytes[k] = raw.charCodeAt(k);
    const view = new DataView(bytes.buffer), found = new Float32Array(raw.length / 4);
    for (let k = 0; k < found.length; k++) found[k] = view.getFloat32(4 * k, true);
    return found;
  }
  const values = Object.fromEntries(data.names.map((n) => [n.name, numbers(data.values[n.name])]));

  // One unit of a value over the steps; null past the row's end.
  function line(name, section, row, place) {
    const at = ((section * data.rows.length + row) * name.units.length + place) * count;
    return Array.from(values[name.name].subarray(at, at + count), (v) => (isNaN(v) ? null : v));
  }

  function options(select, texts) {
    texts.forEach((text, k) => select.add(new Option(text, k)));
  }

  const chosen = () => ({
    name: data.names[pick("value").value],
    row: Number(pick("row").value),
    memory: pick("order").value === "0" && data.sections.some((s) => s.sorted_by),
    unit: Number(pick("unit").value),
  });

  const order = (name, section, memory) => (memory && name.sorted && section.sorted_by
    ? section.order : name.units.map((_, k) => k));

  function ticks(range) {
    const low = Math.max(0, Math.ceil(range[0])), high = Math.min(count - 1, Math.floor(range[1]));
    if (!tokens || high - low + 1 > MOST_TOKENS) {
      const every = Math.max(1, Math.ceil((high - low + 1) / 12 / 5) * 5);
      const at = data.steps.map((_, k) => k).filter((k) => data.steps[k] % every === 0);
      return { vals: at, text: at.map((k) => String(data.steps[k])), title: "step" };
    }
    const at = Array.from({ length: high - low + 1 }, (_, k) => low + k);
    return { vals: at, text: at.map((k) => tokens[k]), title: "token, one a step" };
  }

  function heatMap(name, section, index, now) {
    const places = order(name, section, now.memory);
    const shown = places.map((place) => String(name.units[place]));
    return {
      type: "heatmap", x: data.steps.map((_, k) => k), y: shown, text: places.map(() => said),
      z: places.map((place) => line(name, index, now.row, place)), zmin: name.low, zmax: name.high,
      colorscale: name.gate ? BLUES : "Cividis", xgap: 0, ygap: 0,
      colorbar: { y: 0.71, len: 0.6, thickness: 14, outlinewidth: 0,
        tickvals: [name.low, (name.low + name.high) / 2, name.high],
        ticktext: [name.ends[0], name.gate ? "0.5" : "0", name.ends[1]] },
      hovertemplate: `%{text}<br>unit %{y}<br>${name.name} = %{z:.4g}<extra></extra>`,
    };
  }

  function lines(index, now) {
    return data.names.flatMap((name, k) => {
      const place = name.units.indexOf(now.unit);
      return place < 0 ? [] : [{
        type: "scatter", mode: count === 1 ? "markers" : "lines", name: name.name, yaxis: "y2",
        x: data.steps.map((_, step) => step), y: line(name, index, now.row, place), text: said,
        line: { color: COLOURS[k % 6], dash: DASHES[k % 6], width: 2 },
        hovertemplate: `%{text}<br>unit ${now.unit}<br>${name.name} = %{y:.4g}<extra></extra>`,
      }];
    });
  }

  function layout(name, section, now, range, narrow) {
    const places = order(name, section, now.memory), marks = ticks(range);
    const shown = places.map((place) => String(name.units[place]));
    const at = shown.indexOf(String(now.unit)), step = Math.max(1, Math.ceil(shown.length / 12));
    const sorted = now.memory && name.sorted && section.sorted_by;
    return {
      font: FONT, margin: { l: 74, r: narrow ? 8 : 20, t: 32, b: 60 }, hovermode: "closest",
      xaxis: { range, tickvals: marks.vals, ticktext: marks.text, title: { text: marks.title, standoff: 10 }, automargin: true,
        tickfont: MONO, tickangle: tokens && tokens.some((t) => t.length > 1 && t[0] !== "&")
          && marks.title !== "step" ? -90 : 0, showgrid: false, zeroline: false, anchor: "y2" },
      yaxis: { type: "category", autorange: "reversed", domain: [0.42, 1], fixedrange: true,
        tickvals: shown.filter((_, k) => k % step === 0), automargin: false,
        title: { text: sorted ? "unit, longest<br>memory on top" : "unit", standoff: 4 } },
      yaxis2: { domain: [0, 0.33], title: { text: `unit ${now.unit}` }, fixedrange: true,
        gridcolor: "#e4e6e8", zerolinecolor: "#9aa0a6" },
      legend: narrow ? { orientation: "h", y: -0.2, yanchor: "top", x: 0 } : { y: 0.33, yanchor: "top", x: 1.01 },
      showlegend: true,
      shapes: at < 0 ? [] : [{ type: "rect", xref: "paper", x0: 0, x1: 1, yref: "y",
        y0: at - 0.5, y1: at + 0.5, line: { color: "#D55E00", width: 2 } }],
    };
  }

  const plots = data.sections.map((section) => {
    const heading = document.createElement("h2"), plot = document.createElement("div");
    heading.textContent = section.heading;
    plot.className = "plot";
    pick("sections").append(heading, plot);
    return plot;
  });
  const ranges = data.sections.map(() => [-0.5, count - 0.5]);

  function draw(index) {
    const now = chosen(), section = data.sections[index];
    const traces = [heatMap(now.name, section, index, now), ...lines(index, now)];
    return Plotly.react(plots[index], traces, layout(now.name, section, now, ranges[index], plots[index].clientWidth < 600), CONFIG);
  }

  function drawAll() {
    const { name } = chosen();
    pick("equation").textContent = name.equation;
    return Promise.all(plots.map((_, index) => draw(index)));
  }

  function listen(plot, index) {
    plot.on("plotly_click", (event) => {
      const point = event.points[0];
      if (point.data.type !== "heatmap") return;
      const place = [...pick("unit").options].find((o) => o.value === String(point.y));
      if (place) { pick("unit").value = place.value; drawAll(); }
    });
    plot.on("plotly_relayout", (change) => {
      const zoomed = "xaxis.range[0]" in change;
      if (!zoomed && !change["xaxis.autorange"]) return;
      ranges[index] = zoomed ? [change["xaxis.range[0]"], change["xaxis.range[1]"]]
        : [-0.5, count - 0.5];
      draw(index);
    });
  }

  options(pick("value"), data.names.map((n) => n.name));
  options(pick("row"), data.rows.map(String));
  pick("row-label").hidden = data.rows.length < 2;
  const byMemory = data.sections.some((s) => s.sorted_by);
  options(pick("order"), byMemory ? ["memory, longest on top", "number"] : ["number"]);
  const units = [...new Set(data.names.flatMap((n) => n.units))].sort((a, b) => a - b);
  units.forEach((unit) => pick("unit").add(new Option(unit, unit)));
  const first = data.sections[0], sorted = data.names.find((n) => n.sorted);
  if (byMemory && sorted) pick("unit").value = String(sorted.units[first.order[0]]);
  const gate = data.names.findIndex((n) => n.ends[1].includes("keeps") || n.ends[0].includes("keeps"));
  if (gate > 0) pick("value").value = String(gate);
  for (const id of ["value", "row", "order", "unit"]) pick(id).addEventListener("change", drawAll);
  drawAll().then(() => {
    plots.forEach(listen);
    document.body.dataset.ready = "yes";
  });
})();
