"use strict";
// Small plots as SVG, with axes: bars over values or over names, and a line over time. No library.
const Plots = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const {short} = Common;
  const WIDTH = 300, HEIGHT = 150, LEFT = 42, RIGHT = 12, TOP = 18, BOTTOM = 34;

  function svg(tag, attributes, text) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // Lowest and highest of a list of any length that may hold null.
  function extent(values) {
    let low = Infinity, high = -Infinity;
    for (const value of values) {
      if (value === null) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    return [low, high];
  }

  const TIMES = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 18000, 36000];

  // The next 1, 2 or 5 times a power of ten.
  function nice(size) {
    const power = 10 ** Math.floor(Math.log10(size));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= size * 0.9999);
  }

  // Round numbers from low to high, about `count` of them; `steps` are the distances to choose from.
  function ticks(low, high, count, steps) {
    const wanted = (high - low) / count || 1;
    const step = steps ? steps.find((each) => each >= wanted) || steps.at(-1) : nice(wanted);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) found.push(i * step);
    return found;
  }
  const times = (low, high, count) => ticks(low, high, count, TIMES);

  // `all` are {low, high, value, tip, label}: bars that stand between two numbers, or, with a label, over a name.
  function bars(title, all, {most, across, up}) {
    const picture = svg("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title});
    const highest = most || extent(all.map((bar) => bar.value))[1] || 1;
    const named = all[0].label !== undefined, first = named ? 0 : all[0].low, last = named ? all.length : all.at(-1).high;
    const x = (value) => LEFT + ((value - first) / (last - first || 1)) * (WIDTH - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (value / highest) * (HEIGHT - TOP - BOTTOM);
    for (const value of ticks(0, highest, 3)) {
      picture.append(svg("line", {class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value)}));
      picture.append(svg("text", {class: "y", x: LEFT - 4, y: y(value) + 3.5, "text-anchor": "end"}, short(value)));
    }
    all.forEach((bar, i) => {
      const from = x(named ? i : bar.low), to = x(named ? i + 1 : bar.high), gap = named && all.length < 10 ? (to - from) * 0.2 : 0.5;
      const rect = svg("rect", {class: "bar", x: from + gap, y: y(bar.value), width: Math.max(0.5, to - from - 2 * gap),
        height: Math.max(0, HEIGHT - BOTTOM - y(bar.value)), "data-value": bar.value});
      if (!named) { rect.dataset.low = bar.low; rect.dataset.high = bar.high; }
      rect.append(svg("title", {}, bar.tip));
      picture.append(rect);
      if (named && (all.length <= 8 || i % Math.ceil(all.length / 8) === 0)) {
        picture.append(svg("text", {class: "x", x: (from + to) / 2, y: HEIGHT - BOTTOM + 13, "text-anchor": "middle"}, bar.label));
      }
    });
    if (!named) {
      for (const value of ticks(first, last, 4)) {
        picture.append(svg("text", {class: "x", x: x(value), y: HEIGHT - BOTTOM + 13, "text-anchor": "middle"}, short(value)));
      }
    }
    picture.append(svg("text", {class: "title", x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle"}, across));
    picture.append(svg("text", {class: "title", x: 0, y: 10}, up));
    return picture;
  }

  // How many of the values lie in each of some bins of a round width.
  function bins(values) {
    const [low, high] = extent(values);
    const step = nice((high - low) / Math.min(24, Math.max(4, 2 * Math.ceil(Math.sqrt(values.length)))) || Math.abs(low) / 10 || 1);
    const first = Math.floor(low / step + 1e-9), counts = new Array(Math.max(1, Math.floor(high / step + 1e-9) - first + 1)).fill(0);
    for (const value of values) counts[Math.min(counts.length - 1, Math.max(0, Math.floor(value / step + 1e-9) - first))] += 1;
    return counts.map((value, i) => ({low: (first + i) * step, high: (first + i + 1) * step, value}));
  }

  function histogram(title, values, unit) {
    const all = bins(values).map((bin) => ({...bin, tip: `${short(bin.low)} to ${short(bin.high)}${unit}: ${Common.many(bin.value, "recording")}`}));
    return bars(title, all, {across: unit.trim() || "no unit", up: "recordings"});
  }

  // A line over time with gaps where there is no value; its box spans `low` to `high`, a value takes `share` of its width.
  function line(title, values, low, high, share) {
    const width = 600, height = 54;
    const picture = svg("svg", {viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": title, height});
    const span = high - low || 1, path = [];
    let pen = "M";
    values.forEach((value, i) => {
      if (value === null) { pen = "M"; return; }
      const y = (height - 4 - ((value - low) / span) * (height - 8)).toFixed(2);
      path.push(`${pen}${(i * share * width).toFixed(2)} ${y}L${(Math.min(1, (i + 1) * share) * width).toFixed(2)} ${y}`);
      pen = "L";
    });
    picture.append(svg("path", {class: "line", d: path.join(""), "vector-effect": "non-scaling-stroke"}));
    return picture;
  }

  return {bars, histogram, line, extent, times};
})();
