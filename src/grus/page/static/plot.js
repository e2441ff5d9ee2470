"use strict";
// The picture: one value over steps and units, and below it the norm of the state.

// Plotly reads labels as HTML and $ as a formula; a character of the text is never either.
function label(symbol) {
  return shown(symbol).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/\$/g, "&#36;");
}

function traces(answer, steps) {
  const flat = answer.rows.flat().map(Math.abs);
  const most = Math.max(1, ...flat);
  const units = answer.rows.map((_, k) => answer.units + k + 1);
  const line = (y, name, ink) => ({
    type: "scatter", mode: "lines", x: steps, y, name, yaxis: "y2",
    line: { color: colour(ink), width: 2 }, hovertemplate: `%{y:.2f}<extra>${name}</extra>`,
  });
  const picture = {
    type: "heatmap", x: steps, y: units, z: answer.rows,
    colorscale: answer.gate ? GATES : stateColours(),
    zmin: answer.gate ? 0 : -most, zmax: answer.gate ? 1 : most,
    colorbar: { thickness: 9, outlinewidth: 0, len: 0.74, y: 1, yanchor: "top", tickfont: { size: 11 }, nticks: 5, xpad: 6 },
    hovertemplate: "step %{x}, unit %{y}: %{z:.4f}<extra></extra>",
  };
  const held = answer.holding ? [line(answer.norms, "held", "held")] : [];
  return [picture, line(answer.free_norms, "as trained", "free"), ...held];
}

function layout(answer, steps) {
  const ink = colour("ink"), quiet = { fixedrange: true, zeroline: false, showgrid: false };
  const { step, unit } = answer;
  const inside = unit >= answer.units && unit < answer.units + answer.rows.length;
  // Black within white is seen on every colour.
  const box = (x0, x1, y0, y1) => [["#ffffff", 4], ["#000000", 1.5]].map(([color, width]) => ({
    type: "rect", xref: "x", yref: "y", x0, x1, y0, y1, line: { color, width },
  }));
  const first = answer.units + 0.5, last = answer.units + answer.rows.length + 0.5;
  return {
    margin: { l: 38, r: 4, t: 6, b: 22 }, showlegend: false, dragmode: false,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
    xaxis: {
      ...quiet, range: [steps[0] - 0.5, steps[0] + Math.max(24, steps.length) - 0.5],
      tickmode: "array", tickvals: steps, ticktext: answer.symbols.map(label), tickangle: 0,
      tickfont: { family: "monospace", size: 12 }, anchor: "y2", ticks: "",
    },
    yaxis: { ...quiet, domain: [0.27, 1], range: [last, first], title: { text: "unit", standoff: 2 }, nticks: 7 },
    yaxis2: { ...quiet, domain: [0, 0.2], title: { text: "‖state‖", standoff: 2 }, rangemode: "tozero", nticks: 3 },
    shapes: [
      ...box(step + 0.5, step + 1.5, first, last),
      ...(inside ? box(step + 0.5, step + 1.5, unit + 0.5, unit + 1.5) : []),
    ],
  };
}

// picked hears of every click on the picture. Purging takes it away with all else, so it is told anew.
async function draw(place, answer, picked) {
  if (!answer.steps) {
    Plotly.purge(place);
    return;
  }
  const steps = answer.symbols.map((_, k) => answer.first + k + 1);
  const config = { displayModeBar: false, doubleClick: false, showTips: false };
  const fresh = !place.on;
  await Plotly.react(place, traces(answer, steps), layout(answer, steps), config);
  if (fresh) place.on("plotly_click", picked);
}
