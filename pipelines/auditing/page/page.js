"use strict";
(() => {
  const report = window.AUDIT, rows = report.recordings, metrics = report.options.metrics;
  const HIGHER = new Set(["si-snr", "visqol", "stoi"]);
  const SAYS = {
    "si-snr": "SI-SNR: waveform match. Higher is better; neural codecs are low here and still sound fine.",
    "level": "Level difference: 0 is right; above 0 the reconstruction is louder.",
    "convergence": "Spectral convergence: relative error of the spectrum. 0 is best.",
    "mel": "Log-mel distance: how far the spectra are apart as ears group them. 0 is best.",
    "visqol": "ViSQOL: predicted listening score, 1 (bad) to 4.7 (no difference).",
    "stoi": "STOI: predicted intelligibility of speech, 1 is best.",
  };
  const UNITS = {"si-snr": "dB", level: "dB", mel: "dB", visqol: "MOS"};
  const byId = (id) => document.getElementById(id);
  const state = {sort: null, descending: false, selected: null, shown: 300, player: null, visible: []};

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }
  const figure = (row, metric) => (row.figures[metric] ? row.figures[metric].value : null);
  const bad = (metric, value) => (metric === "level" ? Math.abs(value) : HIGHER.has(metric) ? -value : value);
  const severity = (row) => ["error", "warning", "info"].find((s) => row.findings.some((f) => f.severity === s)) || "clean";
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
  const hours = (seconds) => (seconds >= 3600 ? `${(seconds / 3600).toFixed(2)} h` : `${(seconds / 60).toFixed(1)} min`);

  function summary() {
    const verdict = byId("verdict");
    verdict.textContent = report.passed ? "passed" : "failed";
    verdict.classList.add(report.passed ? "passed" : "failed");
    const codec = report.codec;
    byId("about").textContent = `${report.audited.recordings} of ${report.corpus.recordings} recordings decoded ` +
      `(${hours(report.audited.seconds)} of ${hours(report.corpus.seconds)}) · ${codec.codec} at ${codec.bandwidth} kbps, ` +
      `${codec.n_q} codebooks · codecshards ${report.version} · ${report.finished}`;
    document.title = `Audit: ${report.passed ? "passed" : "failed"} · ${report.out}`;
    for (const metric of metrics) byId("tiles").append(tile(metric, report.figures[metric]));
  }

  function tile(metric, spread) {
    const box = make("div", {className: "tile"});
    const unit = UNITS[metric] ? ` ${UNITS[metric]}` : "";
    box.append(make("span", {textContent: metric}));
    box.append(make("b", {textContent: spread.median === undefined ? "not applicable" : Plots.short(spread.median) + unit}));
    if (spread.median !== undefined) {
      const worst = make("button", {type: "button", className: "link", textContent: `${Plots.short(spread.worst)}${unit}`});
      worst.addEventListener("click", () => select(rows.findIndex((row) => row.id === spread.worst_id), true));
      box.append(make("p", {}, `median; mean ${Plots.short(spread.mean)}${unit}; worst `, worst));
    }
    if (spread.not_applicable) box.append(make("p", {textContent: `not applicable to ${spread.not_applicable}`, className: "quiet"}));
    box.append(make("p", {className: "say", textContent: SAYS[metric]}));
    return box;
  }

  function noticed() {
    const list = byId("noticed");
    const badge = (level, text) => make("span", {className: `badge ${level}`, textContent: text});
    for (const missed of report.limits_missed) list.append(make("li", {}, badge("error", "limit missed"), ` ${missed.message}`));
    for (const finding of report.corpus.findings) {
      list.append(make("li", {}, badge(finding.severity, finding.name), ` ${finding.detail}`));
    }
    for (const counted of report.findings) {
      const many = counted.recordings === 1 ? "1 recording" : `${counted.recordings} recordings`;
      const link = make("button", {type: "button", className: "link", textContent: many});
      link.addEventListener("click", () => { byId("filter").value = counted.name; byId("show").value = ""; table(); });
      list.append(make("li", {}, badge(counted.severity, counted.name), " ", link));
    }
    if (report.corpus.duplicates) list.append(make("li", {textContent: `${report.corpus.duplicates} recordings of the corpus are copies of others`}));
    if (!list.children.length) list.append(make("li", {className: "fine", textContent: "Nothing: every recording that was decoded is what its source says."}));
  }

  const columns = [
    {name: "recording", of: (row) => row.id, cell: (row) => row.id, className: "id"},
    {name: "findings", of: (row) => ["error", "warning", "info", "clean"].indexOf(severity(row)), findings: true},
    {name: "length", number: true, of: (row) => row.seconds, cell: (row) => clock(row.seconds)},
    ...metrics.map((metric) => ({
      name: metric, number: true, of: (row) => figure(row, metric), worst: (value) => bad(metric, value),
      cell: (row) => (figure(row, metric) === null ? "–" : figure(row, metric).toFixed(2)),
      title: (row) => (row.figures[metric] && row.figures[metric].reason) || "",
    })),
  ];

  function head() {
    const line = byId("table").querySelector("thead tr");
    columns.forEach((column, i) => {
      const button = make("button", {type: "button", textContent: column.name});
      button.addEventListener("click", () => {
        // A measure is sorted worst first, since that is what one looks for; again turns it round.
        state.descending = state.sort === i ? !state.descending : false;
        state.sort = i;
        table();
      });
      const cell = make("th", {scope: "col"}, button);
      if (column.number) cell.classList.add("number");
      line.append(cell);
    });
  }

  function order(list) {
    if (state.sort === null) return list;
    const column = columns[state.sort];
    const key = (row) => {
      const value = column.of(row);
      return value === null || !column.worst ? value : -column.worst(value);
    };
    return list.sort((a, b) => {
      const x = key(a), y = key(b);
      if (x === null || y === null) return (x === null) - (y === null);
      const sign = typeof x === "string" ? x.localeCompare(y, undefined, {numeric: true}) : x - y;
      return state.descending ? -sign : sign;
    });
  }

  function wanted(row) {
    const words = byId("filter").value.trim().toLowerCase(), show = byId("show").value;
    if (show && severity(row) !== show) return false;
    const text = [row.id, row.source_uri, row.chosen, row.error || "", ...row.findings.map((f) => `${f.name} ${f.detail}`)].join(" ");
    return text.toLowerCase().includes(words);
  }

  function table() {
    state.visible = order(rows.filter(wanted));
    const body = byId("table").querySelector("tbody");
    body.replaceChildren(...state.visible.slice(0, state.shown).map(line));
    byId("count").textContent = `${state.visible.length} of ${rows.length}`;
    byId("more").hidden = state.visible.length <= state.shown;
    byId("table").querySelectorAll("th").forEach((cell, i) => {
      if (state.sort === i) cell.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  }

  function line(row) {
    const index = rows.indexOf(row);
    const element = make("tr", {tabIndex: 0});
    element.dataset.index = index;
    element.setAttribute("aria-selected", String(index === state.selected));
    for (const column of columns) {
      const cell = make("td", {className: column.className || (column.number ? "number" : "")});
      if (column.findings) {
        for (const finding of row.findings) {
          cell.append(make("span", {className: `badge ${finding.severity}`, textContent: finding.name, title: finding.detail}), " ");
        }
      } else {
        cell.textContent = column.cell(row);
        if (column.title) cell.title = column.title(row);
      }
      element.append(cell);
    }
    element.addEventListener("click", () => select(index, false));
    element.addEventListener("keydown", (event) => { if (event.key === "Enter") select(index, false); });
    return element;
  }

  function select(index, reveal) {
    if (index < 0) return;
    state.selected = index;
    byId("table").querySelectorAll("tbody tr").forEach((element) => {
      const chosen = Number(element.dataset.index) === index;
      element.setAttribute("aria-selected", String(chosen));
      if (chosen) element.scrollIntoView({block: "nearest"});
    });
    if (state.player) state.player.close();
    state.player = null;
    detail(rows[index]);
    if (reveal || window.innerWidth <= 900) byId("detail").scrollIntoView({block: "nearest"});
  }

  function detail(row) {
    const box = byId("detail");
    box.replaceChildren(make("h3", {textContent: row.id}));
    const about = `${clock(row.seconds)} · source ${row.source_sample_rate} Hz, ${row.source_channels} ch · ${row.shard} · chosen: ${row.chosen}`;
    box.append(make("p", {className: "quiet", textContent: about}));
    if (row.findings.length) {
      box.append(make("ul", {}, ...row.findings.map((f) => make("li", {}, make("b", {className: f.severity, textContent: f.name}), `: ${f.detail}`))));
    }
    if (row.equal_codes) {
      const shares = row.equal_codes.map((share) => `${(100 * share).toFixed(1)}%`).join(", ");
      const same = row.equal_codes.every((share) => share === 1);
      box.append(make("p", {textContent: same ? "Encoded again: every code is the same." : `Encoded again, equal codes by level: ${shares}`}));
    }
    for (const metric of metrics) {
      const reason = row.figures[metric] && row.figures[metric].reason;
      if (reason) box.append(make("p", {className: "quiet", textContent: `${metric}: not applicable: ${reason}`}));
    }
    if (row.page) listen(box, row); else box.append(make("p", {className: "quiet", textContent: "No audio was written for it."}));
  }

  function track(child, start, seconds, mark) {
    const box = make("div", {className: "track"}, child);
    if (mark) {
      const worst = make("div", {className: "worst", title: "worst chunk"});
      worst.style.left = `${(100 * (mark[0] - start)) / seconds}%`;
      worst.style.width = `${(100 * (mark[1] - mark[0])) / seconds}%`;
      box.append(worst);
    }
    box.append(make("div", {className: "head"}));
    box.addEventListener("click", (event) => {
      const area = box.getBoundingClientRect();
      state.player.seek(start + (seconds * (event.clientX - area.left)) / area.width - state.offset);
    });
    box.dataset.start = start;
    box.dataset.seconds = seconds;
    return box;
  }

  function listen(box, row) {
    const page = row.page, segment = row.segment_seconds;
    state.offset = page.start;
    const worst = page.worst_segment === null ? null
      : [page.worst_segment * segment, Math.min((page.worst_segment + 1) * segment, row.seconds)];
    const play = make("button", {type: "button", id: "play", textContent: "▶ play"});
    const at = make("span", {id: "time"});
    const buttons = page.versions.map((version, i) => {
      const button = make("button", {type: "button", className: "version", textContent: version.name, title: `key ${i + 1}`});
      button.addEventListener("click", () => state.player.use(i));
      return button;
    });
    state.player = new Player(page, (time, playing, current) => {
      play.textContent = playing ? "❚❚ pause" : "▶ play";
      at.textContent = `${clock(page.start + time)} of ${clock(row.seconds)}`;
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === current)));
      for (const element of box.querySelectorAll(".track")) {
        const share = (page.start + time - element.dataset.start) / element.dataset.seconds;
        element.querySelector(".head").style.left = `${100 * Math.max(0, Math.min(1, share))}%`;
      }
    });
    play.addEventListener("click", () => state.player.toggle());
    const controls = make("div", {className: "versions"}, play, ...buttons);
    if (worst) {
      const button = make("button", {type: "button", id: "worst", textContent: "worst chunk"});
      button.addEventListener("click", hearWorst);
      controls.append(button);
    }
    box.append(controls, at);
    pictures(box, row, worst);
  }

  function pictures(box, row, worst) {
    const page = row.page, first = page.versions[0].name, last = page.versions.at(-1).name;
    const wave = make("canvas");
    box.append(make("p", {className: "caption", textContent: `waveform: ${first} behind, ${last} in front${worst ? "; red frame: the worst chunk" : ""}`}));
    box.append(track(wave, page.start, page.seconds, worst));
    drawWave(wave, {first: page.peaks[first], last: first === last ? null : page.peaks[last]}, getComputedStyle(document.body));
    const images = make("div", {className: "images"});
    const captions = {source: "source", decoded: `decoded, ${last}`, difference: "difference (red: louder)"};
    for (const name of ["source", "decoded", "difference"]) {
      if (!page.images[name]) continue;
      const image = make("img", {src: page.images[name], alt: `mel spectrogram, ${captions[name]}`, draggable: false});
      images.append(make("div", {}, make("p", {className: "caption", textContent: captions[name]}), track(image, page.start, page.seconds, worst)));
    }
    box.append(images);
    for (const metric of Object.keys(row.series)) {
      const values = row.series[metric], known = values.filter((value) => value !== null);
      if (!known.length) continue;
      const range = `${Plots.short(Math.min(...known))} to ${Plots.short(Math.max(...known))} ${UNITS[metric] || ""}`;
      box.append(make("p", {className: "caption", textContent: `${metric} over the whole recording: ${range}`}));
      box.append(track(Plots.line(metric, values), 0, values.length * row.segment_seconds, worst));
    }
  }

  function hearWorst() {
    const row = rows[state.selected];
    if (!row || !row.page || row.page.worst_segment === null) return;
    state.player.seek(row.page.worst_segment * row.segment_seconds - row.page.start - 0.25);
    state.player.play();
  }

  function plots() {
    const corpus = report.corpus;
    const add = (title, picture) => byId("plots").append(make("div", {className: "plot"}, make("p", {textContent: title}), picture));
    for (const metric of metrics) {
      const values = rows.map((row) => figure(row, metric)).filter((value) => value !== null);
      if (values.length) add(`${metric}, recordings by value (${UNITS[metric] || "no unit"})`, Plots.histogram(metric, values, UNITS[metric] || ""));
    }
    if (corpus.codebooks.length) {
      const size = report.codec.codebook_size;
      add(`codebook use: perplexity by level, of ${size}`, Plots.bars("perplexity", corpus.codebooks.map((level) =>
        [String(level.level), level.perplexity, `level ${level.level}: perplexity ${level.perplexity}, ${Math.round((1 - level.used) * size)} dead codes`])));
    }
    if (corpus.scales.counts.length) {
      add("scales of all chunks, dB", Plots.bars("scales", corpus.scales.counts.map((n, i) =>
        [Plots.short(corpus.scales.edges[i]), n, `${corpus.scales.edges[i]} to ${corpus.scales.edges[i + 1]} dB: ${n} chunks`])));
    }
    add("hours by source rate, Hz", Plots.bars("hours by source rate", Object.entries(corpus.source_hours).map(([rate, value]) =>
      [rate, value, `${rate} Hz: ${Plots.short(value)} h`])));
  }

  function step(by) {
    const at = state.visible.indexOf(rows[state.selected]);
    const next = state.visible[Math.max(0, Math.min(state.visible.length - 1, at + by))];
    if (next) select(rows.indexOf(next), false);
  }

  function keys(event) {
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
    if (event.key === "Escape" && typing) { event.target.blur(); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const player = state.player;
    if (event.key === "/") byId("filter").focus();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (player && event.key === " " && event.target.tagName !== "BUTTON") player.toggle();
    else if (player && event.key === "ArrowLeft") player.seek(player.time - 1);
    else if (player && event.key === "ArrowRight") player.seek(player.time + 1);
    else if (player && event.key === "w") hearWorst();
    else if (player && /^[1-9]$/.test(event.key)) player.use(Number(event.key) - 1);
    else return;
    event.preventDefault();
  }

  summary(); noticed(); head(); table(); plots();
  byId("filter").addEventListener("input", table);
  byId("show").addEventListener("change", table);
  byId("more").addEventListener("click", () => { state.shown += 300; table(); });
  document.addEventListener("keydown", keys);
  const suspects = rows.findIndex((row) => row.page && severity(row) === "error");
  if (rows.length) select(suspects >= 0 ? suspects : 0, false);
  window.auditPage = state;
})();
