"use strict";
// What the other scripts share: elements, numbers and times as text, and what each measure means.
const Common = (() => {
  const known = window.AUDIT.measures;
  const SAYS = {
    "si-snr": "Waveform match. Neural codecs are low here and still sound fine.",
    level: "Loudness against the source; above 0 the reconstruction is louder.",
    convergence: "Relative error of the spectrum.",
    mel: "How far the spectra are apart in bands as ears group them.",
    visqol: "Predicted listening score: 1 is bad, 4.7 is no difference to be heard.",
    stoi: "Predicted intelligibility, from 0 to 1.",
  };
  const TITLES = {"si-snr": "SI-SNR", level: "level difference", convergence: "spectral convergence", mel: "log-mel distance",
    visqol: "ViSQOL", stoi: "STOI"};

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  const short = (value) => (Math.abs(value) >= 1000 ? value.toFixed(0) : String(+value.toPrecision(3))).replace("-", "−");
  // With so many digits behind the point, and never a zero with a minus.
  const fixed = (value, digits) => { const text = value.toFixed(digits); return Number(text) === 0 ? (0).toFixed(digits) : text; };
  const unit = (metric) => (known[metric].unit ? ` ${known[metric].unit}` : "");
  const better = (metric) => (metric === "level" ? "0 is right" : known[metric].higher ? "higher is better" : "lower is better, 0 is best");
  const arrow = (metric) => (metric === "level" ? "→0" : known[metric].higher ? "↑" : "↓");
  // Grows as quality falls.
  const bad = (metric, value) => (metric === "level" ? Math.abs(value) : known[metric].higher ? -value : value);
  const many = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

  function clock(seconds, digits = 1) {
    const whole = Math.floor(seconds / 60), rest = (seconds - 60 * whole).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
    return whole < 60 ? `${whole}:${rest}` : `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}:${rest}`;
  }

  function length(seconds) {
    return seconds >= 3600 ? `${(seconds / 3600).toFixed(2)} h` : seconds >= 60 ? `${(seconds / 60).toFixed(1)} min` : `${seconds.toFixed(1)} s`;
  }

  return {make, short, fixed, unit, better, arrow, bad, many, clock, length, says: (metric) => SAYS[metric], title: (metric) => TITLES[metric],
    window: (metric) => known[metric].window};
})();
