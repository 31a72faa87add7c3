"use strict";
// One recording: what is known of it, its versions to listen to, pictures and measures over time.
const Detail = (() => {
  const {make, clock, short} = Common;
  const report = window.AUDIT, metrics = report.options.metrics;

  // Shows a row in `box` and returns its player; null when there is nothing to hear.
  function show(box, row) {
    box.replaceChildren(make("h3", {textContent: row.id, dir: "auto"}));
    const source = row.source_channels ? ` · source ${row.source_sample_rate} Hz, ${row.source_channels} ch` : "";
    const other = row.source_seconds !== null && Math.abs(row.source_seconds - row.seconds) > 0.0005 ? ` (its source: ${clock(row.source_seconds, 3)})` : "";
    box.append(quiet(`${clock(row.seconds, other ? 3 : 1)}${other}${source} · ${row.shard} · chosen: ${row.chosen}`));
    spoken(box, row);
    if (row.findings.length) {
      box.append(make("ul", {}, ...row.findings.map((f) => make("li", {}, make("b", {className: row.own.includes(f) ? f.severity : "info", textContent: f.name}), `: ${f.detail}`))));
    }
    if (row.error) box.append(make("p", {className: "warning", textContent: "It could not be compared with its source."}));
    if (row.equal_codes) box.append(make("p", {textContent: equal(row.equal_codes)}));
    for (const metric of metrics) {
      if (row.reasons[metric]) box.append(quiet(`${Common.title(metric)}: not applicable: ${row.reasons[metric]}`));
    }
    if (row.page) return listen(box, row);
    const heard = report.recordings.filter((each) => each.page).length;
    const why = heard ? `the page has it for ${heard} of ${report.recordings.length}, the worst` : "none was written";
    box.append(quiet(`No sound: ${why}. For this one: codecshards audit OUT --ids '${row.id.replaceAll("'", "'\\''")}'. Its measures over time are in recordings.parquet.`));
    return null;
  }

  // Who speaks, in what language, and what. All of it is data of strangers: text, never markup, in a direction of its own.
  function spoken(box, row) {
    const facts = [["speaker", row.speaker], ["language", row.language]].filter(([, value]) => value);
    if (facts.length) {
      box.append(make("p", {className: "facts"}, ...facts.flatMap(([name, value], i) =>
        [`${i ? " · " : ""}${name} `, make("bdi", {className: name, textContent: value})])));
    }
    if (!row.text) return;
    const text = make("blockquote", {id: "transcript", textContent: row.text, dir: "auto", tabIndex: 0});
    text.setAttribute("aria-label", "transcript");
    if (row.language && /^[a-z]{2,3}(-[a-z0-9]{1,8})*$/i.test(row.language)) text.lang = row.language;
    box.append(text);
    if (row.text_cut) box.append(quiet(`The transcript goes on: ${row.text_cut.toLocaleString("en")} characters, here are ${row.text.length.toLocaleString("en")}.`));
  }

  const quiet = (text) => make("p", {className: "quiet", textContent: text});
  const caption = (text) => make("p", {className: "caption", textContent: text});

  function equal(shares) {
    const texts = shares.map((share) => `${(100 * share).toFixed(1)}%`);
    if (shares.every((share) => share === 1)) return "Encoded again: every code is the same.";
    const same = texts.every((text) => text === texts[0]);
    return `Encoded again, equal codes: ${same ? `${texts[0]} at every level` : `by level ${texts.join(", ")}`}`;
  }

  function worstOf(row) {
    const worst = row.page.worst_segment, segment = row.segment_seconds;
    // Of a single chunk, none is the worst.
    return worst === null || row.seconds <= segment ? null : [worst * segment, Math.min((worst + 1) * segment, row.seconds)];
  }

  // The measure by which the page's chunk is the worst: another's worst may be another chunk.
  const judge = (row) => report.judged_by.find((metric) => (row.series[metric] || []).some((value) => value !== null)) || report.judged_by.at(-1);
  const judged = (row) => `by ${Common.title(judge(row))}`;

  function listen(box, row) {
    const page = row.page, worst = worstOf(row);
    const play = make("button", {type: "button", id: "play", textContent: "▶ play"});
    const at = make("span", {id: "time"}), format = make("span", {id: "format"});
    const said = make("p", {id: "said", className: "caption", role: "status"});
    const buttons = page.versions.map((version, i) => {
      const button = make("button", {type: "button", className: "version", textContent: version.name, title: `${version.format} (key ${i + 1})`});
      button.addEventListener("click", () => player.use(i));
      return button;
    });
    const part = page.seconds < row.seconds - 0.01 ? `; ${clock(page.start)} to ${clock(page.start + page.seconds)} can be heard` : "";
    const player = new Player(page, (time, playing, current) => {
      play.textContent = playing ? "❚❚ pause" : "▶ play";
      at.textContent = `${clock(page.start + time)} of ${clock(row.seconds)}${part}.`;
      format.textContent = heardAs(page.versions[current].format);
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === current)));
      for (const element of box.querySelectorAll(".track")) {
        const share = (page.start + time - element.dataset.start) / element.dataset.seconds;
        element.querySelector(".head").style.left = `${100 * Math.max(0, Math.min(1, share))}%`;
      }
    });
    // What a click on a picture or a line asks for, in seconds of the recording.
    player.hear = (time) => {
      const stop = page.start + page.seconds;
      const outside = time < page.start - 0.01 || (time > stop - 0.01 && stop < row.seconds - 0.01);
      said.textContent = outside ? `${clock(time)} cannot be heard: the page has ${clock(page.start)} to ${clock(stop)} of it.` : "";
      if (outside) return;
      if (time - page.start >= player.ends) {
        said.textContent = `${page.versions[player.current].name} has ended at ${clock(page.start + player.ends)}: another version may go on.`;
        return;
      }
      player.seek(time - page.start);
      player.play();
    };
    player.hearWorst = () => { if (worst) player.hear(Math.max(page.start, worst[0] - 0.25)); };
    play.addEventListener("click", () => player.toggle());
    const controls = make("div", {className: "versions"}, play, ...buttons);
    if (worst) {
      const button = make("button", {type: "button", id: "worst", textContent: `worst chunk ${judged(row)}, ${clock(worst[0])}`});
      button.addEventListener("click", player.hearWorst);
      controls.append(button);
    }
    box.append(controls, make("p", {className: "caption"}, at, " ", format), said);
    player.enlarge = () => {};
    pictures(box, row, worst, player);
    return player;
  }

  function heardAs(format) {
    if (format === "FLAC") return "You hear it lossless (FLAC): what is wrong with it is the codec's.";
    const kbps = Number(format.match(/\d+/)[0]) / report.codec.channels;
    return `You hear it as Opus at ${format.match(/\d+/)[0]} kbps: ${kbps >= 96 ? "what that loses is next to inaudible" : "good, but a trace of what you hear may be Opus's"}.`;
  }

  // A picture over time: clicks play, a frame marks the worst chunk, a line follows the sound; y labels left, time below.
  // With `open`, clicks and keys call that instead.
  function chart(child, row, {start, seconds, labels, snap, by, open, ticks}, worst, player) {
    const page = row.page, track = make("div", {className: "track"}, child);
    track.dataset.start = start;
    track.dataset.seconds = seconds;
    const place = (element, from, to) => {
      element.style.left = `${(100 * (from - start)) / seconds}%`;
      element.style.width = `${(100 * (to - from)) / seconds}%`;
      track.append(element);
    };
    const end = start + seconds, stop = page.start + page.seconds, edge = seconds / 500;
    if (page.start > start + edge) place(make("div", {className: "outside", title: "no sound of it here"}), start, page.start);
    if (stop < end - edge) place(make("div", {className: "outside", title: "no sound of it here"}), stop, end);
    if (worst) {
      const mark = make("div", {className: "worst", title: `worst chunk ${by || judged(row)}: click to hear it`});
      if (open) mark.classList.add("through");
      else mark.addEventListener("click", (event) => { event.stopPropagation(); player.hear(Math.max(Math.min(page.start, worst[0]), worst[0] - 0.25)); });
      place(mark, worst[0], worst[1]);
    }
    track.append(make("div", {className: "head"}));
    if (open) {
      Object.assign(track, {tabIndex: 0, role: "button", title: "enlarge"});
      track.setAttribute("aria-label", `enlarge: ${child.alt}`);
      track.classList.add("opens");
      track.addEventListener("click", open);
      track.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        open();
      });
    } else track.addEventListener("click", (event) => {
      const area = track.getBoundingClientRect(), time = start + (seconds * (event.clientX - area.left)) / area.width;
      const chunk = snap ? Math.floor(time / snap) * snap : time;
      // The chunk that was clicked, or as much of it as there is.
      player.hear(chunk < page.start && time >= page.start ? page.start : chunk);
    });
    const left = make("div", {className: "y"});
    for (const [share, text] of labels) {
      // What stands for an edge stays within it, clear of the times below.
      const label = make("span", {textContent: text, className: share === 0 ? "low" : share === 1 ? "high" : ""});
      label.style.bottom = `${100 * share}%`;
      left.append(label);
    }
    const below = make("div", {className: "times"});
    const times = Plots.times(start, start + seconds, ticks || 4), digits = times.some((time) => Math.abs(time - Math.round(time)) > 0.01) ? 1 : 0;
    for (const time of times) {
      const label = make("span", {textContent: clock(time, digits)});
      label.style.left = `${(100 * (time - start)) / seconds}%`;
      if (time - start > 0.9 * seconds) label.className = "last";
      else if (time - start < 0.1 * seconds) label.className = "first";
      below.append(label);
    }
    return make("div", {className: "chart"}, left, track, below);
  }

  // Where frequencies are on the mel scale, as shares of the height.
  function frequencies(sampleRate) {
    const mel = (hertz) => Math.log10(1 + hertz / 700);
    return [500, 2000, 8000].filter((hertz) => hertz < sampleRate / 2.2).map((hertz) =>
      [mel(hertz) / mel(sampleRate / 2), hertz < 1000 ? String(hertz) : `${hertz / 1000}k`]);
  }

  function pictures(box, row, worst, player) {
    const page = row.page, first = page.versions[0].name, last = page.versions.at(-1).name;
    const clip = {start: page.start, seconds: page.seconds};
    const wave = make("canvas");
    const names = first === last ? last : `${first} behind, ${last} in front`;
    const early = page.source_seconds !== null && page.source_seconds < page.seconds - 0.001;
    const ends = early ? `; the source ends at ${clock(page.start + page.source_seconds, 3)}` : "";
    box.append(caption(`waveform: ${names}${worst ? `; red frame: the worst chunk ${judged(row)}` : ""}${ends}`));
    box.append(chart(wave, row, {...clip, labels: [[1, "+1"], [0.5, "0"], [0, "−1"]]}, worst, player));
    drawWave(wave, {first: page.peaks[first], last: first === last ? null : page.peaks[last]}, getComputedStyle(document.body));
    const images = make("div", {className: "images"}), shown = [];
    const dialog = make("dialog", {className: "large"});
    dialog.setAttribute("aria-label", "spectrograms, large");
    player.enlarge = () => { if (dialog.open) dialog.close(); else { enlarged(dialog, row, shown, worst, player); dialog.showModal(); } };
    const captions = {source: "source, Hz", decoded: `decoded, ${last}`, difference: "difference (red: louder)"};
    for (const name of ["source", "decoded", "difference"]) {
      if (!page.images[name]) continue;
      const image = () => make("img", {src: page.images[name], alt: `mel spectrogram, ${captions[name]}`, draggable: false});
      const how = {...clip, labels: frequencies(report.codec.sample_rate)};
      images.append(make("div", {}, caption(captions[name]), chart(image(), row, {...how, open: player.enlarge, ticks: 2}, worst, player)));
      shown.push({text: captions[name], image, how});
    }
    box.append(images);
    if (shown.length) box.append(caption("A click on a spectrogram, or key e, enlarges them; grey: there is no sound of it."), dialog);
    const known = Object.keys(row.series).filter((metric) => row.series[metric].filter((value) => value !== null).length > 1);
    // A single value needs no axes.
    if (!known.length && metrics.some((metric) => row.figures[metric] !== null && row.figures[metric] !== undefined)) {
      const values = metrics.filter((metric) => typeof row.figures[metric] === "number");
      box.append(caption(`One value a measure: ${values.map((metric) => `${Common.title(metric)} ${short(row.figures[metric])}${Common.unit(metric)}`).join(", ")}.`));
    }
    for (const metric of known) series(box, row, metric, player);
  }

  // All spectrograms below each other on one clock, as wide as the window; clicks play.
  function enlarged(dialog, row, shown, worst, player) {
    const close = make("button", {type: "button", className: "close", textContent: "close"});
    close.addEventListener("click", () => dialog.close());
    const play = make("button", {type: "button", textContent: "play or pause"});
    play.addEventListener("click", () => player.toggle());
    dialog.replaceChildren(make("div", {className: "versions"}, close, play, make("bdi", {textContent: row.id})),
      ...shown.flatMap(({text, image, how}) => [caption(text), chart(image(), row, {...how, ticks: 10}, worst, player)]));
    dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
    dialog.onclose = () => dialog.replaceChildren();
  }

  // The chunk where a measure is at its worst, in seconds of the recording.
  function worstBy(metric, values, step, row) {
    const bad = values.map((value) => (value === null ? -Infinity : Common.bad(metric, value)));
    const at = bad.indexOf(Math.max(...bad));
    return [at * step, Math.min((at + 1) * step, row.seconds)];
  }

  function series(box, row, metric, player) {
    const values = row.series[metric], [low, high] = Plots.extent(values), step = row.segment_seconds * row.series_step;
    if (low > high) return;
    const notes = [Common.better(metric)];
    const window = Common.window(metric);
    if (window) notes.push(`each value covers a window of ${window} s`);
    if (row.series_step > 1 && !(window > step)) notes.push(`the worst of each ${clock(step)}`);
    box.append(caption(`${Common.title(metric)}${Common.unit(metric) && `,${Common.unit(metric)}`}, over the whole recording (${notes.join("; ")})`));
    const labels = low === high ? [[0.5, short(low)]] : [[0.93, short(high)], [0.07, short(low)]];
    const seconds = row.seconds, worst = low === high || Common.window(metric) ? null : worstBy(metric, values, step, row);
    const line = Plots.line(`${metric} over time`, values, low, high === low ? low + 1 : high, step / seconds);
    box.append(chart(line, row, {start: 0, seconds, labels, snap: step, by: `by ${Common.title(metric)}`}, worst, player));
  }

  return {show};
})();
