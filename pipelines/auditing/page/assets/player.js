"use strict";
// One recording: its versions play in turns at one position. Exactly one of them is heard.
class Player {
  constructor(page, onTime) {
    this.page = page;
    this.seconds = page.seconds;
    this.current = 0;
    this.onTime = onTime;
    this.started = false;
    this.wanted = null;
    this.urls = [];
    this.running = true;
    this.audio = page.versions.map((version) => {
      const audio = new Audio();
      audio.preload = "auto";
      audio.addEventListener("ended", () => { this.started = false; this.tick(); });
      // Until its length is known, a version takes no position.
      audio.addEventListener("loadedmetadata", () => { if (this.wanted !== null && audio === this.now) this.place(this.wanted); });
      this.load(audio, version.file);
      return audio;
    });
    const loop = () => { if (this.running) { this.tick(); requestAnimationFrame(loop); } };
    requestAnimationFrame(loop);
  }

  // Many simple web servers send no parts of files, and in what comes from them whole one cannot seek: so it is read first.
  async load(audio, file) {
    if (location.protocol === "file:") { audio.src = file; return; }
    try {
      const answer = await fetch(file);
      if (!answer.ok) throw new Error(`${file}: ${answer.status}`);
      const content = await answer.blob();
      if (!this.running) return;
      this.urls.push(URL.createObjectURL(new Blob([content], {type: file.endsWith(".flac") ? "audio/flac" : "audio/ogg"})));
      audio.src = this.urls.at(-1);
    } catch {
      if (this.running) audio.src = file;
    }
    if (this.running && this.started && audio === this.now) this.play();
  }

  get now() { return this.audio[this.current]; }
  get ends() { return Number.isFinite(this.now.duration) ? this.now.duration : this.seconds; }
  get time() { return this.wanted === null ? this.now.currentTime : this.wanted; }
  get playing() { return !this.now.paused && !this.now.ended; }

  tick() { this.onTime(this.time, this.playing, this.current); }

  toggle() { if (this.playing) this.pause(); else this.play(); }
  pause() { this.started = false; this.now.pause(); this.tick(); }
  play() {
    this.started = true;
    if (!this.now.src) return;
    if (this.now.ended) this.place(0);
    // A version that is switched away from before it has begun is no error.
    this.now.play().catch((error) => { if (error.name !== "AbortError") throw error; });
  }

  seek(time) {
    this.place(time);
    this.tick();
  }

  place(time) {
    const to = Math.max(0, Math.min(time, this.seconds - 0.01));
    this.wanted = this.now.readyState >= 1 ? null : to;
    if (this.wanted === null) this.now.currentTime = to;
  }

  use(index) {
    if (index === this.current || !this.audio[index]) return;
    const time = this.time;
    this.now.pause();
    this.current = index;
    this.place(time);
    // A version that is over by then is silent there, and does not begin anew.
    if (this.started && time < this.ends) this.play();
    else this.started = false;
    this.tick();
  }

  close() {
    this.running = false;
    for (const audio of this.audio) { audio.pause(); audio.removeAttribute("src"); audio.load(); }
    for (const url of this.urls) URL.revokeObjectURL(url);
  }
}

function drawWave(canvas, peaks, style) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, canvas.clientWidth * scale);
  canvas.height = Math.max(1, canvas.clientHeight * scale);
  const context = canvas.getContext("2d");
  const middle = canvas.height / 2;
  for (const [name, colour] of [["first", "--wave"], ["last", "--decoded"]]) {
    if (!peaks[name]) continue;
    context.globalAlpha = name === "first" ? 1 : 0.65;
    context.fillStyle = style.getPropertyValue(colour);
    const step = canvas.width / peaks[name].length;
    peaks[name].forEach((column, i) => {
      if (!column) return;  // this one has ended
      const [low, high] = column;
      const top = middle - (high / 127) * middle, bottom = middle - (low / 127) * middle;
      context.fillRect(i * step, top, Math.max(1, step - 0.5), Math.max(1, bottom - top));
    });
  }
}
