"use strict";
// What the other scripts share: elements, numbers and times as text, and what each measure means.
const Common = (() => {
  const known = window.AUDIT.measures;
  const BETTER = {higher: "higher is better", lower: "lower is better, 0 is best", zero: "0 is right"};
  const ARROWS = {higher: "↑", lower: "↓", zero: "→0"};

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  const short = (value) => (Math.abs(value) >= 1000 ? value.toFixed(0) : String(+value.toPrecision(3))).replace("-", "−");
  // With so many digits behind the point, and never a zero with a minus.
  const fixed = (value, digits) => { const text = value.toFixed(digits); return Number(text) === 0 ? (0).toFixed(digits) : text; };
  const unit = (metric) => (known[metric].unit ? ` ${known[metric].unit}` : "");
  const better = (metric) => BETTER[known[metric].better];
  const arrow = (metric) => ARROWS[known[metric].better];
  // Grows as quality falls.
  const BAD = {higher: (value) => -value, lower: (value) => value, zero: Math.abs};
  const bad = (metric, value) => BAD[known[metric].better](value);
  const many = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

  function clock(seconds, digits = 1) {
    const whole = Math.floor(seconds / 60), rest = (seconds - 60 * whole).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
    return whole < 60 ? `${whole}:${rest}` : `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}:${rest}`;
  }

  function length(seconds) {
    return seconds >= 3600 ? `${(seconds / 3600).toFixed(2)} h` : seconds >= 60 ? `${(seconds / 60).toFixed(1)} min` : `${seconds.toFixed(1)} s`;
  }

  return {make, short, fixed, unit, better, arrow, bad, many, clock, length, says: (metric) => known[metric].help,
    title: (metric) => known[metric].title, window: (metric) => known[metric].window};
})();
