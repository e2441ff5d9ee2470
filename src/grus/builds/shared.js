"use strict";
// What the page of grus serve and a model saved as a page have in common.

const SAMPLE = "The crane stands still in the water";
const GATES = [[0, "#00224e"], [0.25, "#434e6c"], [0.5, "#7d7c78"], [0.75, "#bcaf6f"], [1, "#fee838"]];
const stateColours = () => [[0, "#c2570c"], [0.5, colour("low")], [1, "#0072b2"]];

const at = (id) => document.getElementById(id);
const make = (tag, text, kind) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const percent = (share) => (share >= 0.0995 ? `${Math.round(share * 100)}%` : `${(share * 100).toFixed(1)}%`);

function say(message, wrong) {
  at("message").textContent = message;
  at("message").classList.toggle("wrong", Boolean(wrong));
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function shown(symbol) {
  const signs = { " ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍" };
  if (symbol in signs) return signs[symbol];
  const code = symbol.codePointAt(0);
  return code < 32 || (code >= 127 && code < 160) ? `\\x${code.toString(16).padStart(2, "0")}` : symbol;
}
