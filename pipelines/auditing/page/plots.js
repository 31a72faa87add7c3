"use strict";
// Small plots as SVG: bars over bins, and a line over time. No library.
const Plots = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  function svg(tag, attributes, text) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  const short = (value) => (Math.abs(value) >= 1000 ? value.toFixed(0) : String(+value.toPrecision(3)));

  // Bars with a label under the first, the middle and the last one; `bars` are [label, height, tooltip].
  function bars(title, labels) {
    const width = 300, height = 130, bottom = 18, top = 6;
    const picture = svg("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title});
    const most = Math.max(1e-12, ...labels.map((bar) => bar[1]));
    const step = width / Math.max(1, labels.length);
    labels.forEach(([label, value, tip], i) => {
      const tall = (value / most) * (height - bottom - top);
      const bar = svg("rect", {class: "bar", x: i * step + 0.5, y: height - bottom - tall, width: Math.max(0.5, step - 1), height: tall});
      bar.append(svg("title", {}, tip));
      picture.append(bar);
    });
    picture.append(svg("line", {class: "axis", x1: 0, x2: width, y1: height - bottom, y2: height - bottom}));
    const marked = labels.length <= 6 ? labels.keys() : [0, Math.floor((labels.length - 1) / 2), labels.length - 1];
    for (const i of marked) {
      const anchor = labels.length > 6 && i === 0 ? "start" : labels.length > 6 && i === labels.length - 1 ? "end" : "middle";
      const x = anchor === "start" ? 0 : anchor === "end" ? width : (i + 0.5) * step;
      picture.append(svg("text", {x, y: height - 5, "text-anchor": anchor}, labels[i][0]));
    }
    return picture;
  }

  function histogram(title, values, unit) {
    const low = Math.min(...values), high = Math.max(...values);
    const count = Math.min(24, Math.max(1, Math.ceil(Math.sqrt(values.length)) * 2));
    const size = (high - low) / count || 1;
    const counts = new Array(count).fill(0);
    for (const value of values) counts[Math.min(count - 1, Math.floor((value - low) / size))] += 1;
    return bars(title, counts.map((n, i) => [short(low + i * size), n, `${short(low + i * size)} to ${short(low + (i + 1) * size)} ${unit}: ${n}`]));
  }

  // A line over time with gaps where there is no value.
  function line(title, values) {
    const width = 600, height = 54;
    const picture = svg("svg", {viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": title, height});
    const known = values.filter((value) => value !== null);
    if (!known.length) return picture;
    const low = Math.min(...known), high = Math.max(...known), span = high - low || 1;
    let path = "", pen = "M";
    values.forEach((value, i) => {
      if (value === null) { pen = "M"; return; }
      const y = height - 4 - ((value - low) / span) * (height - 8);
      path += `${pen}${(i / values.length) * width} ${y}L${((i + 1) / values.length) * width} ${y}`;
      pen = "L";
    });
    picture.append(svg("path", {class: "line", d: path, "vector-effect": "non-scaling-stroke"}));
    return picture;
  }

  return {bars, histogram, line, short};
})();
