"use strict";
// One recording: its versions play in turns at one position. Exactly one of them is heard.
class Player {
  constructor(page, onTime) {
    this.page = page;
    this.seconds = page.seconds;
    this.current = 0;
    this.onTime = onTime;
    this.audio = page.versions.map((version) => {
      const audio = new Audio();
      audio.preload = "auto";
      audio.src = version.file;
      audio.addEventListener("ended", () => this.tick());
      return audio;
    });
    this.running = true;
    const loop = () => { if (this.running) { this.tick(); requestAnimationFrame(loop); } };
    requestAnimationFrame(loop);
  }

  get now() { return this.audio[this.current]; }
  get time() { return this.now.currentTime; }
  get playing() { return !this.now.paused && !this.now.ended; }

  tick() { this.onTime(this.time, this.playing, this.current); }

  toggle() { if (this.playing) this.pause(); else this.play(); }
  pause() { this.now.pause(); this.tick(); }
  play() {
    if (this.now.ended) this.now.currentTime = 0;
    // A version that is switched away from before it has begun is no error.
    this.now.play().catch((error) => { if (error.name !== "AbortError") throw error; });
  }

  seek(time) {
    this.now.currentTime = Math.max(0, Math.min(time, this.seconds - 0.01));
    this.tick();
  }

  use(index) {
    if (index === this.current || !this.audio[index]) return;
    const playing = this.playing, time = this.time;
    this.now.pause();
    this.current = index;
    this.now.currentTime = Math.min(time, this.seconds - 0.01);
    if (playing) this.play();
    this.tick();
  }

  close() {
    this.running = false;
    for (const audio of this.audio) { audio.pause(); audio.removeAttribute("src"); audio.load(); }
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
    peaks[name].forEach(([low, high], i) => {
      const top = middle - (high / 127) * middle, bottom = middle - (low / 127) * middle;
      context.fillRect(i * step, top, Math.max(1, step - 0.5), Math.max(1, bottom - top));
    });
  }
}
