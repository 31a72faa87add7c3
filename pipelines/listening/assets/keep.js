"use strict";
// What a rater has done: kept in this browser after every change, so that a reload loses nothing, and sent where there is a server.
class Keep {
  constructor(test, rater, changed) {
    this.key = `codecshards-mushra-${test.id}-${rater}`;
    this.changed = changed;
    this.test = test;
    this.volatile = false;
    this.state = {
      format: 1, test: test.id, rater, session: Keep.random(), started: new Date().toISOString(), finished: null,
      device: "", comment: "", at: 0, place: "welcome", screens: {}, unsent: [],
    };
    try {
      const kept = JSON.parse(localStorage.getItem(this.key));
      if (kept && kept.test === test.id) Object.assign(this.state, kept);
    } catch { this.volatile = true; }
  }

  static random() {
    return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  save() {
    try { localStorage.setItem(this.key, JSON.stringify(this.state)); this.volatile = false; } catch { this.volatile = true; }
  }

  // A screen's ratings, made when they are first asked for.
  screen(name) {
    this.state.screens[name] ??= {scores: {}, heard: [], comment: "", seconds: 0, done: null};
    return this.state.screens[name];
  }

  // The file that a rater sends back: without what only this page needs.
  file() {
    const {format, test, rater, session, started, finished, device, comment, screens} = this.state;
    const done = Object.fromEntries(Object.entries(screens).filter(([, one]) => one.done)
      .map(([name, {scores, comment: words, seconds, done: time}]) => [name, {scores, comment: words, seconds: Math.round(seconds), time}]));
    return {format, test, rater, session, started, finished, device, comment, screens: done};
  }

  // One message to the server; it stays in the list until the server has it.
  queue(message) {
    if (!this.token) return;
    this.state.unsent = this.state.unsent.filter((one) => one.screen !== message.screen || one.kind !== message.kind);
    this.state.unsent.push(message);
    this.save();
    this.send();
  }

  async send() {
    if (!this.token || this.sending) return;
    this.sending = true;
    try {
      while (this.state.unsent.length) {
        const message = this.state.unsent[0];
        const answer = await Keep.post("api/rate", {token: this.token, test: this.test.id, session: this.state.session, ...message});
        // What is refused for good would stop all that comes after it.
        if (!answer.ok && answer.status !== 400 && answer.status !== 409) throw new Error(String(answer.status));
        this.state.unsent = this.state.unsent.filter((one) => one !== message);
        this.save();
      }
      this.trouble = false;
    } catch {
      this.trouble = true;
      setTimeout(() => this.send(), 5000);
    } finally {
      this.sending = false;
      this.changed();
    }
  }

  static post(path, value) {
    return fetch(path, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(value)});
  }
}
