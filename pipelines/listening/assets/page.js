"use strict";
// The way through a test: welcome, a training screen, the rater's screens, the end.
(() => {
  const test = window.TEST, served = window.SERVED;
  const main = document.getElementById("main"), said = document.getElementById("said"), step = document.getElementById("step");
  const query = new URLSearchParams(location.search);
  const TOKEN = `codecshards-mushra-token-${test.id}`, WHO = `codecshards-mushra-who-${test.id}`;
  const DEVICES = ["headphones", "loudspeakers", "built-in loudspeaker"];
  const COUNTED = Object.keys(test.screens).filter((name) => name !== "training");
  let keep = null, board = null, context = null, order = [], shown = 0;
  const audio = {};  // promises of buffers by screen

  document.title = test.title;
  document.getElementById("title").textContent = test.title;

  const store = {
    get(key) { try { return localStorage.getItem(key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem(key, value); } catch { /* the page works without */ } },
  };
  const say = (text) => { said.textContent = text; };
  const button = (text, onclick, id) => make("button", {type: "button", textContent: text, onclick, id: id ?? "", className: id === "next" ? "main" : ""});
  const paragraph = (text, className = "") => make("p", {textContent: text, className});

  function show(...elements) {
    board?.close();
    board = null;
    say("");
    main.replaceChildren(...elements);
    main.insertBefore(said, main.querySelector(":scope > .ways"));  // where one looks who has just pressed a button
    scrollTo(0, 0);
    main.focus({preventScroll: true});
  }

  function progress(text, share) {
    step.textContent = text;
    document.querySelector("#bar span").style.width = `${100 * share}%`;
  }

  // --- sound ---

  function audioContext() {
    if (!context) {
      try { context = new AudioContext({sampleRate: test.sample_rate, latencyHint: "interactive"}); } catch { context = new AudioContext(); }
    }
    return context;
  }

  const arrived = {};
  window.LOADED = (name, data) => { arrived[name] = data; };

  function load(name) {
    audio[name] ??= new Promise((resolve, reject) => {
      const script = make("script", {src: `audio/${name}.js`});
      script.onload = async () => {
        script.remove();
        const data = arrived[name];
        delete arrived[name];
        try {
          const buffers = {};
          for (const [id, text] of Object.entries(data)) {
            buffers[id] = await audioContext().decodeAudioData(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
          }
          resolve(buffers);
        } catch (error) { reject(error); }
      };
      script.onerror = () => { script.remove(); reject(new Error("not loaded")); };
      document.head.append(script);
    });
    audio[name].catch(() => { delete audio[name]; });
    return audio[name];
  }

  // --- places ---

  function place(name, at = keep.state.at) {
    keep.state.place = name;
    keep.state.at = at;
    keep.save();
    if (name === "welcome") welcome();
    else if (name === "end") end();
    else screen(name === "training" ? "training" : order[at]);
  }

  function welcome() {
    const minutes = Math.max(1, Math.round(order.length * 0.9));
    const device = make("select", {id: "device", onchange: () => { keep.state.device = device.value; keep.save(); }},
      make("option", {value: "", textContent: "Choose …"}), ...DEVICES.map((name) => make("option", {value: name, textContent: name})));
    device.value = keep.state.device;
    const begin = button("Begin with a practice screen", () => {
      if (!device.value) { say("Please say first what you listen with."); device.focus(); return; }
      audioContext().resume();
      place("training");
    }, "next");
    progress(`About ${minutes} min: ${order.length} screens`, 0);
    show(
      make("h2", {textContent: "What you will do"}),
      paragraph("On each screen you hear one short sound in several versions. Compare each version with the reference, and rate how good it sounds: 100 if you hear no difference, less the more it is worse than the reference."),
      paragraph("One of the versions is the reference itself, hidden among the others: it should get 100. Others may be much worse. Use the whole scale."),
      make("ul", {},
        make("li", {textContent: "Use headphones, in a quiet place. On a phone, turn off silent mode."}),
        make("li", {textContent: "Set a comfortable volume on the practice screen, and leave it there."}),
        make("li", {textContent: "You may switch between versions as often as you like while they play."}),
        make("li", {textContent: "You can stop at any time, and go on later on this device in this browser."})),
      make("p", {}, make("label", {htmlFor: "device", textContent: "I listen with "}), device),
      paragraph(served ? "What is sent to whom runs this test: your ratings, your comments, what you listen with, and times. Nothing else."
        : "Nothing is sent from this page. At the end you get a file with your ratings, your comments, what you listen with, and times.", "quiet"),
      make("div", {className: "ways"}, begin));
    for (const name of ["training", order[0]]) load(name).catch(() => {});
  }

  async function screen(name) {
    const own = ++shown, training = name === "training", at = keep.state.at, has = test.screens[name];
    if (!has) { place("end"); return; }
    progress(training ? "Practice: not counted" : `Screen ${at + 1} of ${order.length}`, training ? 0 : at / order.length);
    show(paragraph("Loading the sounds …", "quiet"));
    let buffers;
    try {
      buffers = await load(name);
    } catch {
      if (own === shown) show(paragraph("The sounds of this screen could not be loaded."), button("Try again", () => screen(name), "next"));
      return;
    }
    if (own !== shown) return;
    for (const other of Object.keys(audio)) if (other !== name && other !== order[at] && other !== order[at + 1]) delete audio[other];
    const following = training ? order[0] : order[at + 1];
    if (following) load(following).catch(() => {});
    draw(name, buffers);
  }

  function draw(name, buffers) {
    const training = name === "training", kept = keep.screen(name), has = test.screens[name];
    const letters = Order.stimuli(has.stimuli, test.seed, keep.state.rater, name);
    const player = new Player(audioContext(), buffers, has.reference);
    const made = new Board(player, has.reference, letters, kept, () => { keep.save(); notice(); });
    const comment = make("textarea", {id: "comment", rows: 2, maxLength: 2000, value: kept.comment, oninput: () => { kept.comment = comment.value; keep.save(); }});
    const last = keep.state.at === order.length - 1;
    const forth = button(training ? "Go on" : last ? "Finish" : "Next", () => leave(name, made), "next");
    const back = button("Back", () => (training ? place("welcome") : keep.state.at === 0 ? place("training") : place("screen", keep.state.at - 1)), "back");
    show(
      ...(training ? [paragraph("Practice: try the keys and buttons, set the volume, and hear how different the versions are. One of them is the reference itself: find it, and give it 100.", "note")] : []),
      made.element,
      make("details", {open: kept.comment !== ""}, make("summary", {textContent: "Comment"}), make("label", {htmlFor: "comment", className: "quiet", textContent: "Anything you noticed (optional)"}), comment),
      make("div", {className: "ways"}, back, forth),
      keys());
    board = made;
    window.BOARD = made;  // for whom looks at it in the browser's tools
    notice();
  }

  function keys() {
    const list = [["Space", "play, pause"], ["R", "reference"], ["A B C …", "a version"], ["← →", "the one before, after"], ["↑ ↓", "its rating (Shift: by 10)"], ["[ ]", "loop from, to here"], ["\\", "all of it"], ["Enter", "on a button: press it"]];
    return make("p", {className: "keys quiet"}, ...list.map(([key, words]) => make("span", {}, make("kbd", {textContent: key}), ` ${words}`)));
  }

  function leave(name, made) {
    const {heard, rated} = made.missing();
    const words = [rated.length ? `Still to rate: ${rated.join(", ")}.` : "", heard.length ? `Still to listen to: ${heard.join(", ")}.` : ""].filter(Boolean);
    if (words.length) { say(words.join(" ")); return; }
    const kept = made.kept;
    if (name === "training" && !kept.done) {
      kept.done = new Date().toISOString();
      keep.save();
      const {letter} = made.rows[made.reference], score = kept.scores[made.reference];
      say(`${letter} is the reference itself; you gave it ${score}. Listen again if you like, then press “Go on”.`);
      return;
    }
    kept.done = new Date().toISOString();
    keep.queue({kind: "screen", screen: name, scores: {...kept.scores}, comment: kept.comment, seconds: Math.round(kept.seconds)});
    if (name === "training") {
      const open = order.findIndex((one) => !keep.state.screens[one]?.done);
      place(open < 0 ? "end" : "screen", Math.max(0, open));
      return;
    }
    if (keep.state.at + 1 < order.length) place("screen", keep.state.at + 1);
    else place("end");
  }

  function end() {
    shown += 1;
    const open = order.findIndex((name) => !keep.state.screens[name]?.done);
    if (open >= 0) { place("screen", open); return; }
    keep.state.finished ??= new Date().toISOString();
    keep.save();
    const about = () => keep.queue({kind: "about", device: keep.state.device, comment: keep.state.comment});
    const comment = make("textarea", {id: "comment", rows: 3, maxLength: 2000, value: keep.state.comment, oninput: () => { keep.state.comment = comment.value; keep.save(); fill(); }, onchange: about});
    const text = make("textarea", {id: "result", rows: 6, readOnly: true});
    const fill = () => { text.value = JSON.stringify(keep.file()); };
    fill();
    progress("Done", 1);
    const where = test.contact ? `Please send it to ${test.contact}.` : "Please send it to the person who gave you this test.";
    show(
      make("h2", {textContent: "Thank you!"}),
      make("p", {id: "sent"}),
      make("p", {}, make("label", {htmlFor: "comment", textContent: "Is there anything you want to say about the test? (optional)"})), comment,
      ...(served ? [] : [paragraph(`Your ratings are in a file that you save here. ${where}`)]),
      make("div", {className: "ways"}, button("Back", () => place("screen", order.length - 1), "back"), button("Save the result file", download, served ? "download" : "next")),
      make("details", {}, make("summary", {textContent: "The result as text, to copy"}), text));
    about();
    notice();
  }

  function download() {
    const link = make("a", {
      href: URL.createObjectURL(new Blob([JSON.stringify(keep.file(), null, 1)], {type: "application/json"})),
      download: `ratings-${test.id}-${keep.state.rater.replace(/[^A-Za-z0-9_-]/g, "_").slice(0, 40)}.json`,
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  // What a rater should know: ratings that are not sent yet, or a browser that keeps nothing.
  function notice() {
    if (!keep) return;
    const sent = document.getElementById("sent"), waiting = keep.state.unsent.length;
    if (sent) sent.textContent = !served ? "" : waiting ? "Your last ratings are being sent: please keep this page open." : "All your ratings have arrived. You can close this page.";
    if (keep.trouble && waiting) say("The server does not answer; your ratings are kept here and sent when it does.");
    else if (keep.volatile) say("This browser keeps nothing over a reload: please finish in one go.");
    else if (said.textContent.startsWith("The server does not answer")) say("");
  }

  // --- who rates ---

  function begin(rater, token, done = {}) {
    keep = new Keep(test, rater, notice);
    keep.token = token;
    order = Order.screens(COUNTED, test.seed, rater, test.per_rater);
    // What the server has of this rater from another device.
    for (const [name, one] of Object.entries(done)) {
      if (keep.state.screens[name]?.done || !test.screens[name]) continue;
      keep.state.screens[name] = {scores: one.scores, heard: Object.keys(one.scores), comment: one.comment, seconds: one.seconds, done: one.time};
    }
    window.KEEP = keep;
    keep.send();
    place(keep.state.place);
  }

  function ask() {
    const name = make("input", {id: "who", type: "text", maxLength: 40, autocomplete: "off"});
    const go = () => {
      if (!name.value.trim()) { say("Please give a number or a name."); name.focus(); return; }
      store.set(WHO, name.value.trim());
      begin(name.value.trim());
    };
    const form = make("form", {onsubmit: (event) => { event.preventDefault(); go(); }},
      make("p", {}, make("label", {htmlFor: "who", textContent: "The number that you were given, or a name that you make up "}), name),
      make("div", {className: "ways"}, button("Go on", go, "next")));
    progress("", 0);
    show(paragraph("Thank you for taking part. Your ratings are kept under this name, so that you can go on after a break."), form);
    name.focus();
  }

  async function enter() {
    progress("", 0);
    try {
      let token = query.get("token") || store.get(TOKEN);
      if (!token) {
        const answer = await Keep.post("api/join", {test: test.id});
        if (!answer.ok) { show(paragraph((await answer.json()).error)); return; }
        token = (await answer.json()).token;
      }
      const answer = await Keep.post("api/begin", {test: test.id, token});
      if (!answer.ok) { show(paragraph((await answer.json()).error)); return; }
      const {rater, done} = await answer.json();
      store.set(TOKEN, token);
      begin(rater, token, done);
    } catch {
      show(paragraph("The server does not answer."), button("Try again", enter, "next"));
    }
  }

  const who = query.get("rater")?.trim().slice(0, 40) || store.get(WHO);
  if (served) enter();
  else if (who) begin(who);
  else ask();
})();
