"use strict";
// One screen: what plays, a line for each stimulus, and keys.
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const LETTERS = "ABCDEFGHIJKLMNOP";
const SCALE = ["Bad", "Poor", "Fair", "Good", "Excellent"];

class Board {
  static HEARD = 0.25;  // seconds of a stimulus until it counts as heard

  // `order` are the ids of the stimuli as they are shown; `kept` is what the rater has done on this screen.
  constructor(player, reference, order, kept, changed) {
    Object.assign(this, {player, reference, order, kept, changed, passed: {}, rows: {}});
    this.current = null;  // null is the reference
    this.element = make("div", {className: "board"}, this.transport(), this.lines());
    this.onkey = (event) => this.key(event);
    document.addEventListener("keydown", this.onkey);
    this.player.onend = () => this.paint();
    this.running = true;
    let last = performance.now();
    const tick = (now) => {
      if (!this.running) return;
      this.tick(Math.min(0.1, Math.max(0, now - last) / 1000));
      last = now;
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    this.paint();
  }

  close() {
    this.running = false;
    document.removeEventListener("keydown", this.onkey);
    this.player.close();
  }

  transport() {
    this.playing = make("button", {type: "button", id: "play", onclick: () => this.toggle()});
    this.looping = make("button", {type: "button", id: "loop", textContent: "Loop", onclick: () => this.loop()});
    this.whole = make("button", {type: "button", id: "whole", textContent: "Whole", title: "Hear all of it again", onclick: () => this.region(0, this.player.seconds)});
    this.range = make("span", {className: "range"});
    this.head = make("span", {className: "head"});
    this.time = make("span", {className: "time quiet"});
    this.track = make("div", {id: "track", tabIndex: 0}, this.range, this.head);
    this.track.setAttribute("role", "slider");
    this.track.setAttribute("aria-label", "Position in seconds");
    this.track.setAttribute("aria-valuemin", 0);
    this.track.setAttribute("aria-valuemax", this.player.seconds.toFixed(1));
    this.drags();
    return make("div", {className: "transport"}, this.playing, this.track, this.time, this.looping, this.whole);
  }

  // A click on the track goes there; a drag over it loops what it covers.
  drags() {
    const at = (event) => {
      const box = this.track.getBoundingClientRect();
      return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * this.player.seconds;
    };
    let start = null;
    this.track.onpointerdown = (event) => { start = at(event); this.track.setPointerCapture(event.pointerId); };
    this.track.onpointerup = (event) => {
      if (start === null) return;
      const end = at(event);
      if (Math.abs(end - start) >= 0.3) this.region(Math.min(start, end), Math.max(start, end));
      else this.seek(end);
      start = null;
    };
    this.track.onpointercancel = () => { start = null; };
  }

  lines() {
    this.referenceButton = make("button", {type: "button", className: "stimulus", id: "reference", textContent: "Reference", onclick: () => this.choose(null)});
    const scale = make("div", {className: "scale quiet"}, ...SCALE.map((word) => make("span", {textContent: word})));
    scale.setAttribute("aria-hidden", "true");
    const list = make("ol", {className: "stimuli"}, make("li", {className: "first"}, this.referenceButton, scale));
    this.order.forEach((name, i) => list.append(this.line(name, LETTERS[i])));
    return list;
  }

  line(name, letter) {
    const button = make("button", {type: "button", className: "stimulus", textContent: letter, onclick: () => this.choose(name)});
    const slider = make("input", {type: "range", min: 0, max: 100, step: 1, value: this.kept.scores[name] ?? 50});
    slider.setAttribute("aria-label", `Rating of ${letter}`);
    const number = make("output", {});
    const rate = () => { this.rate(name, Number(slider.value)); };
    slider.oninput = rate;
    slider.onpointerup = rate;  // where it stands already
    slider.onpointerdown = () => this.choose(name, false);
    slider.onfocus = () => this.choose(name, false);
    this.rows[name] = {button, slider, number, letter};
    return make("li", {}, button, make("div", {className: "slide"}, slider), number);
  }

  rate(name, score) {
    this.kept.scores[name] = Math.max(0, Math.min(100, Math.round(score)));
    this.paint();
    this.changed();
  }

  choose(name, play = true) {
    this.current = name;
    this.player.use(name ?? this.reference);
    if (play && !this.player.playing) this.play();
    this.paint();
  }

  play() {
    this.player.context.resume();
    this.player.play();
    this.paint();
  }

  toggle() {
    if (this.player.playing) { this.player.stop(); this.paint(); } else this.play();
  }

  loop() { this.player.setLooping(!this.player.looping); this.paint(); }
  seek(seconds) { this.player.seek(seconds); this.paint(); }
  region(from, to) {
    if (to - from < 0.3) return;
    this.player.loop(from, to);
    if (!this.player.looping) this.player.setLooping(true);
    this.paint();
  }

  tick(passed) {
    if (this.player.playing) {
      this.kept.seconds += passed;
      const name = this.current;
      if (name !== null && !this.kept.heard.includes(name)) {
        this.passed[name] = (this.passed[name] ?? 0) + passed;
        if (this.passed[name] >= Board.HEARD) { this.kept.heard.push(name); this.paint(); this.changed(); }
      }
    }
    const at = this.player.position;
    this.head.style.left = `${(100 * at) / this.player.seconds}%`;
    this.time.textContent = `${at.toFixed(1)} of ${this.player.seconds.toFixed(1)} s`;
    this.track.setAttribute("aria-valuenow", at.toFixed(1));
  }

  paint() {
    const {player} = this;
    this.playing.textContent = player.playing ? "Pause" : "Play";
    this.looping.setAttribute("aria-pressed", player.looping);
    this.whole.hidden = player.from === 0 && player.to >= player.seconds;
    this.range.style.left = `${(100 * player.from) / player.seconds}%`;
    this.range.style.width = `${(100 * (player.to - player.from)) / player.seconds}%`;
    this.referenceButton.setAttribute("aria-pressed", this.current === null);
    for (const [name, row] of Object.entries(this.rows)) {
      const score = this.kept.scores[name], rated = score !== undefined;
      row.button.setAttribute("aria-pressed", this.current === name);
      row.button.classList.toggle("heard", this.kept.heard.includes(name));
      row.slider.classList.toggle("unrated", !rated);
      if (rated && Number(row.slider.value) !== score) row.slider.value = score;
      row.slider.setAttribute("aria-valuetext", rated ? `${score}, ${SCALE[Math.min(4, Math.floor(score / 20))]}` : "not rated yet");
      row.number.textContent = rated ? score : "–";
    }
  }

  // Letters of stimuli that are still to be heard, or to be rated.
  missing() {
    const letters = (names) => names.map((name) => this.rows[name].letter);
    return {
      heard: letters(this.order.filter((name) => !this.kept.heard.includes(name))),
      rated: letters(this.order.filter((name) => this.kept.scores[name] === undefined)),
    };
  }

  key(event) {
    const {target, key} = event;
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("textarea, select, input:not([type=range]), summary")) return;
    const step = (by) => {
      if (this.current !== null) this.rate(this.current, (this.kept.scores[this.current] ?? 50) + by);
    };
    const next = (by) => {
      const all = [null, ...this.order];
      this.go(all[(all.indexOf(this.current) + by + all.length) % all.length]);
    };
    const lower = key.toLowerCase(), number = "123456789".indexOf(key);
    const letter = lower.length === 1 ? LETTERS.toLowerCase().indexOf(lower) : -1, track = target === this.track;
    const does =
      key === " " && !target.matches("button:not(.stimulus, #play)") ? () => this.toggle()
      : lower === "r" || key === "0" ? () => this.go(null)
      : number >= 0 && number < this.order.length ? () => this.go(this.order[number])
      : letter >= 0 && letter < this.order.length ? () => this.go(this.order[letter])
      : track && (key === "ArrowLeft" || key === "ArrowRight") ? () => this.seek(this.player.position + (key === "ArrowLeft" ? -0.25 : 0.25))
      : key === "ArrowLeft" ? () => next(-1)
      : key === "ArrowRight" ? () => next(1)
      : key === "ArrowUp" ? () => step(event.shiftKey ? 10 : 1)
      : key === "ArrowDown" ? () => step(event.shiftKey ? -10 : -1)
      : key === "PageUp" ? () => step(10)
      : key === "PageDown" ? () => step(-10)
      : key === "[" ? () => this.region(this.player.position, this.player.to > this.player.position + 0.3 ? this.player.to : this.player.seconds)
      : key === "]" ? () => this.region(this.player.from < this.player.position - 0.3 ? this.player.from : 0, this.player.position)
      : key === "\\" ? () => this.region(0, this.player.seconds)
      : null;
    if (!does) return;
    event.preventDefault();
    does();
  }

  // By key: what is heard has the focus too.
  go(name) {
    this.choose(name);
    (name === null ? this.referenceButton : this.rows[name].slider).focus({preventScroll: false});
  }
}
