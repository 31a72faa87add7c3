"use strict";
(() => {
  const report = window.AUDIT, rows = report.recordings, metrics = report.options.metrics;
  const {make, short, clock, many} = Common;
  const byId = (id) => document.getElementById(id);
  const state = {sort: null, descending: false, selected: null, shown: 300, player: null, visible: []};
  const SEVERITIES = ["error", "warning", "info"];

  const common = new Set(report.findings.filter((counted) => counted.common).map((counted) => counted.name));

  rows.forEach((row, i) => {
    row.index = i;
    // What most recordings share is said once, above, and marks none of them.
    row.own = row.findings.filter((finding) => finding.severity === "error" || !common.has(finding.name));
    row.severity = SEVERITIES.find((severity) => row.own.some((finding) => finding.severity === severity)) || "clean";
    row.search = [row.id, row.source_uri, row.chosen, row.error, row.speaker, row.language, row.text,
      ...row.findings.map((f) => `${f.name} ${f.detail}`)].filter(Boolean).join(" ").toLowerCase();
  });
  const indexOf = new Map(rows.map((row) => [row.id, row.index]));
  const compared = rows.filter((row) => !row.error).length, heard = rows.filter((row) => row.page).length;
  const figure = (row, metric) => (row.figures[metric] === undefined ? null : row.figures[metric]);

  function summary() {
    const verdict = byId("verdict");
    verdict.textContent = report.passed ? "passed" : "failed";
    verdict.classList.add(report.passed ? "passed" : "failed");
    byId("why").textContent = why();
    const codec = report.codec;
    byId("about").textContent = `${compared.toLocaleString("en")} of ${many(report.corpus.recordings, "recording")} decoded and compared with ` +
      `their sources (${Common.length(report.audited.seconds)} of ${Common.length(report.corpus.seconds)}) · ${codec.codec} at ` +
      `${codec.bandwidth} kbps, ${many(codec.n_q, "codebook")} · codecshards ${report.version} · ${report.finished.slice(0, 16).replace("T", " ")} UTC`;
    document.title = `Audit: ${report.passed ? "passed" : "failed"} · ${report.out}`;
    for (const id of report.listen_first) {
      const row = rows[indexOf.get(id)], names = row.own.map((finding) => finding.name).join(", ");
      const button = make("button", {type: "button", className: "link"}, make("bdi", {textContent: id}));
      button.addEventListener("click", () => { everything(); select(row.index, true); });
      byId("first").append(make("li", {}, button, names ? ` (${names})` : ""));
    }
    byId("first").hidden = !report.listen_first.length;
    for (const metric of metrics) byId("tiles").append(tile(metric, report.figures[metric]));
  }

  // Which decoders read the sources a second time.
  function secondReaders() {
    const ways = Object.entries(report.second_readers || {}).map(([way, count]) => `${way} ${count}`);
    return ways.length ? ` They were read a second time by another decoder: ${ways.join(", ")}.` : "";
  }

  // The verdict in words; it claims no more than was checked.
  function why() {
    const broken = rows.filter((row) => row.severity === "error").length, reasons = [];
    if (report.limits_missed.length) reasons.push(`${many(report.limits_missed.length, "limit")} missed`);
    if (broken) reasons.push(`what was written is wrong in ${many(broken, "recording")}`);
    const errors = report.corpus.findings.filter((finding) => finding.severity === "error");
    reasons.push(...new Set(errors.map((finding) => finding.name)));
    const codes = report.options.reencode ? "The sources were encoded again and the codes compared."
      + secondReaders()
      : "Whether every code is right was not checked: that takes --reencode.";
    const limits = Object.keys(report.options.limits).length ? "no limit was missed" : "no limits were set";
    const text = reasons.join(", ") || `nothing wrong was found, and ${limits}`;
    return `${text[0].toUpperCase()}${text.slice(1)}. ${codes}`;
  }

  function tile(metric, spread) {
    const box = make("div", {className: "tile"}), unit = Common.unit(metric);
    box.append(make("span", {textContent: Common.title(metric)}));
    if (spread.median === undefined) box.append(make("b", {textContent: "not applicable"}));
    else box.append(make("b", {textContent: short(spread.median) + unit}), make("small", {textContent: ` median; ${Common.better(metric)}`}));
    if (spread.median !== undefined) {
      const worst = make("button", {type: "button", className: "link", textContent: `${short(spread.worst)}${unit}`, title: spread.worst_id});
      worst.addEventListener("click", () => { everything(); select(indexOf.get(spread.worst_id), true); });
      box.append(make("p", {}, `mean ${short(spread.mean)}${unit}; worst `, worst));
    }
    if (spread.not_applicable) box.append(make("p", {textContent: `not applicable to ${spread.not_applicable}`, className: "quiet"}));
    box.append(make("p", {className: "say", textContent: Common.says(metric)}));
    if (spread.note) box.append(make("p", {className: "say", textContent: spread.note}));
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
      const link = make("button", {type: "button", className: "link", textContent: many(counted.recordings, "recording")});
      link.addEventListener("click", () => {
        byId("filter").value = counted.name;
        byId("show").value = "";
        table();
        if (state.visible.length) select((state.visible.find((row) => row.page) || state.visible[0]).index, true);
      });
      const of = counted.common ? ` of ${rows.length.toLocaleString("en")}: of the corpus rather than of any of them, so it is not marked below` : "";
      const meaning = report.meanings[counted.name];
      list.append(make("li", {}, badge(counted.severity, counted.name), ` ${counted.severity}, `, link, of,
        ...(meaning ? [make("span", {className: "quiet", textContent: `. ${meaning}`})] : [])));
    }
    const copies = report.corpus.duplicates;
    if (copies) {
      const are = copies === 1 ? "is a copy of another" : "are copies of others";
      list.append(make("li", {textContent: `${many(copies, "recording")} of the corpus ${are}`}));
    }
    if (list.children.length) return;
    const checked = report.options.reencode ? "encoded again and compared code by code" : "decoded and compared by the measures above";
    list.append(make("li", {className: "fine", textContent: `Nothing, in ${many(compared, "recording")} ${checked}.`}));
  }

  const columns = [
    {name: "recording", of: (row) => row.id, cell: (row) => make("span", {textContent: row.id, title: row.id, dir: "auto"}), className: "id"},
    {name: "findings", className: "findings", of: (row) => [...SEVERITIES, "clean"].indexOf(row.severity), cell: badges},
    {name: "length", number: true, of: (row) => row.seconds, cell: (row) => clock(row.seconds)},
    ...metrics.map((metric) => ({
      name: metric, mark: Common.arrow(metric), about: `${Common.title(metric)}${Common.unit(metric)}: ${Common.better(metric)}`,
      number: true, of: (row) => figure(row, metric), worst: (value) => Common.bad(metric, value),
      cell: (row) => (figure(row, metric) === null ? "–" : Common.fixed(figure(row, metric), 2)),
      title: (row) => row.reasons[metric] || "",
    })),
  ];

  function badges(row) {
    const box = make("span");
    for (const finding of row.own) {
      box.append(make("span", {className: `badge ${finding.severity}`, textContent: finding.name, title: finding.detail}), " ");
    }
    return box;
  }

  function head() {
    const line = byId("table").querySelector("thead tr");
    columns.forEach((column, i) => {
      const button = make("button", {type: "button", title: column.about || `sort by ${column.name}`}, column.name);
      if (column.mark) button.append(make("small", {textContent: ` ${column.mark}`}));
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

  const collator = new Intl.Collator(undefined, {numeric: true});

  function order(list) {
    if (state.sort === null) return list;
    const column = columns[state.sort];
    const key = (row) => {
      const value = column.of(row);
      return value === null || !column.worst ? value : -column.worst(value);
    };
    return list.map((row) => [key(row), row]).sort(([x], [y]) => {
      if (x === null || y === null) return (x === null) - (y === null);
      const sign = typeof x === "string" ? collator.compare(x, y) : x - y;
      return state.descending ? -sign : sign;
    }).map(([, row]) => row);
  }

  function wanted(row) {
    const show = byId("show").value;
    if (show === "sound" ? !row.page : show && row.severity !== show) return false;
    return row.search.includes(byId("filter").value.trim().toLowerCase());
  }

  function table() {
    state.visible = order(rows.filter(wanted));
    const body = byId("table").querySelector("tbody");
    body.replaceChildren(...state.visible.slice(0, state.shown).map(line));
    byId("count").textContent = `${state.visible.length.toLocaleString("en")} of ${many(rows.length, "recording")}; ` +
      (heard === rows.length ? "all have sound" : `${heard} of ${rows.length.toLocaleString("en")} have sound${heard ? ", the worst" : ""}`);
    byId("more").hidden = state.visible.length <= state.shown;
    byId("table").querySelectorAll("th").forEach((cell, i) => {
      if (state.sort === i) cell.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  }

  function everything() {
    byId("filter").value = byId("show").value = "";
    table();
  }

  function line(row) {
    const element = make("tr", {tabIndex: 0, className: row.page ? "" : "mute"});
    element.dataset.index = row.index;
    element.setAttribute("aria-selected", String(row.index === state.selected));
    for (const column of columns) {
      const cell = make("td", {className: column.className || (column.number ? "number" : "")}, column.cell(row));
      if (column.number) cell.dataset.label = column.name;
      if (column.title) cell.title = column.title(row);
      element.append(cell);
    }
    element.addEventListener("click", () => select(row.index, window.innerWidth <= 1350));
    element.addEventListener("keydown", (event) => { if (event.key === "Enter") select(row.index, window.innerWidth <= 1350); });
    return element;
  }

  // Shows a recording; the page itself scrolls to it only when asked to, so that it opens at the verdict.
  function select(index, reveal) {
    state.selected = index;
    const box = document.querySelector(".table");
    byId("table").querySelectorAll("tbody tr").forEach((element) => {
      const chosen = Number(element.dataset.index) === index;
      element.setAttribute("aria-selected", String(chosen));
      if (!chosen) return;
      const top = element.offsetTop - byId("table").tHead.offsetHeight, bottom = element.offsetTop + element.offsetHeight;
      if (top < box.scrollTop) box.scrollTop = top;
      else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
    });
    if (state.player) state.player.close();
    state.player = Detail.show(byId("detail"), rows[index]);
    if (reveal) byId("detail").scrollIntoView({block: window.innerWidth <= 1350 ? "start" : "nearest"});
  }

  function plots() {
    const corpus = report.corpus;
    byId("surveyed").textContent = corpus.surveyed < corpus.shards ? `Codebooks, scales and hours are over ${corpus.surveyed} of ${corpus.shards} shards.` : "";
    const add = (id, title, picture, note) => byId("plots").append(make("div", {className: "plot", id: `plot-${id}`},
      make("p", {textContent: title}), picture, make("p", {className: "caption", textContent: note || ""})));
    for (const metric of metrics) {
      const values = rows.map((row) => figure(row, metric)).filter((value) => value !== null);
      const title = Common.title(metric), note = `${many(values.length, "recording")}; ${Common.better(metric)}`;
      if (values.length) add(metric, title, Plots.histogram(title, values, Common.unit(metric)), note);
    }
    if (corpus.codebooks.length) {
      const size = report.codec.codebook_size;
      const dead = (level) => Math.round((1 - level.used) * size);
      const all = corpus.codebooks.map((level) => ({label: String(level.level), value: level.perplexity,
        tip: `codebook ${level.level}: perplexity ${level.perplexity}, ${dead(level)} codes never used`}));
      const most = Math.max(...corpus.codebooks.map(dead));
      add("codebooks", "codebook use", Plots.bars("perplexity by codebook", all, {most: size, across: "codebook", up: "perplexity"}),
        `${size} would be every code equally often; at most ${most} of ${size} never used`);
    }
    const {edges, counts, silent} = corpus.scales;
    if (counts.length) {
      const all = counts.map((value, i) => ({low: edges[i], high: edges[i + 1], value,
        tip: `${short(edges[i])} to ${short(edges[i + 1])} dB: ${many(value, "chunk")}`}));
      add("scales", "scales: how loud the chunks are", Plots.bars("scales of chunks", all, {across: "dB", up: "chunks"}),
        silent ? `and ${many(silent, "chunk")} of silence` : "");
    }
    const hours = Object.entries(corpus.source_hours);
    if (hours.length) {
      const all = hours.map(([rate, value]) => ({label: rate / 1000, value, tip: `${rate} Hz: ${short(value)} h`}));
      add("hours", "hours by source rate", Plots.bars("hours by source rate", all, {across: "kHz", up: "hours"}));
    }
  }

  function step(by) {
    const at = state.visible.indexOf(rows[state.selected]);
    const next = state.visible[Math.max(0, Math.min(state.visible.length - 1, at + by))];
    if (next) select(next.index, false);
  }

  function keys(event) {
    if (event.defaultPrevented) return;
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
    else if (player && event.key === "w") player.hearWorst();
    else if (player && event.key === "e") player.enlarge();
    else if (player && /^[1-9]$/.test(event.key)) player.use(Number(event.key) - 1);
    else return;
    event.preventDefault();
  }

  summary(); noticed(); head(); table(); plots();
  byId("filter").addEventListener("input", table);
  byId("show").addEventListener("change", table);
  byId("more").addEventListener("click", () => { state.shown += 300; table(); });
  document.addEventListener("keydown", keys);
  // A button that was clicked lets go of the keyboard, or space would press it again; who comes to it by Tab presses it with space.
  document.addEventListener("click", (event) => { if (event.detail && document.activeElement.tagName === "BUTTON") document.activeElement.blur(); });
  if (rows.length) select(report.listen_first.length ? indexOf.get(report.listen_first[0]) : 0, false);
  window.auditPage = state;
})();
