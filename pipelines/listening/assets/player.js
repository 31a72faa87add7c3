"use strict";
// All stimuli of a screen start at one sample and run side by side in a loop; exactly one of them is heard. To switch is to turn two
// gains, so that there is no gap and the position is the same.
class Player {
  static SWITCH = 0.008;  // seconds: linear, as both are nearly the same signal; without it a switch clicks

  // `buffers` are AudioBuffers by name, all of one length.
  constructor(context, buffers, first) {
    this.context = context;
    this.buffers = buffers;
    this.current = first;
    this.seconds = Math.min(...Object.values(buffers).map((buffer) => buffer.duration));
    this.from = 0;
    this.to = this.seconds;
    this.looping = true;
    this.playing = false;
    this.at = 0;  // where it begins, or began
    this.begun = 0;  // on the context's clock
    this.onend = () => {};
  }

  // Seconds into the excerpt.
  get position() {
    if (!this.playing) return this.at;
    const passed = Math.max(0, this.context.currentTime - this.begun), here = this.at + passed;
    if (!this.looping) return Math.min(here, this.seconds);
    return here < this.to ? here : this.from + ((here - this.to) % (this.to - this.from));
  }

  play() {
    if (this.playing) return;
    // Not all of it, where it stands at the end or outside of the loop.
    if (this.at >= this.seconds - 0.01 || (this.looping && (this.at < this.from || this.at >= this.to))) this.at = this.looping ? this.from : 0;
    this.voices = {};
    this.begun = this.context.currentTime + 0.03;
    for (const [name, buffer] of Object.entries(this.buffers)) {
      const source = new AudioBufferSourceNode(this.context, {buffer, loop: this.looping, loopStart: this.from, loopEnd: this.to});
      const gain = new GainNode(this.context, {gain: name === this.current ? 1 : 0});
      source.connect(gain).connect(this.context.destination);
      source.start(this.begun, this.at);
      this.voices[name] = {source, gain};
    }
    const any = this.voices[this.current].source;
    any.onended = () => { if (this.playing && this.voices[this.current] && !this.looping) { this.stop(); this.at = 0; this.onend(); } };
    this.playing = true;
  }

  stop() {
    if (!this.playing) return;
    this.at = this.position;
    this.playing = false;
    const now = this.context.currentTime;
    for (const {source, gain} of Object.values(this.voices)) {
      source.onended = null;
      gain.gain.cancelScheduledValues(now);
      gain.gain.setValueAtTime(gain.gain.value, now);
      gain.gain.linearRampToValueAtTime(0, now + Player.SWITCH);
      source.stop(now + Player.SWITCH);
    }
    this.voices = {};
  }

  use(name) {
    if (name === this.current || !this.buffers[name]) return;
    this.current = name;
    if (!this.playing) return;
    const now = this.context.currentTime;
    for (const [each, {gain}] of Object.entries(this.voices)) {
      gain.gain.cancelScheduledValues(now);
      gain.gain.setValueAtTime(gain.gain.value, now);
      gain.gain.linearRampToValueAtTime(each === name ? 1 : 0, now + Player.SWITCH);
    }
  }

  // What is changed of the course of play: all voices begin anew, together.
  again(change) {
    const playing = this.playing;
    this.stop();
    change();
    if (playing) this.play();
  }

  seek(seconds) { this.again(() => { this.at = Math.max(0, Math.min(seconds, this.seconds)); }); }
  loop(from, to) { this.again(() => { this.from = Math.max(0, from); this.to = Math.min(to, this.seconds); }); }
  setLooping(looping) { this.again(() => { this.looping = looping; }); }
  close() { this.stop(); this.buffers = {}; }
}
