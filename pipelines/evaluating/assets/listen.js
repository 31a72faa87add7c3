"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const place = document.getElementById("listen");
  const select = document.createElement("select");
  select.setAttribute("aria-label", "excerpt");
  const players = document.createElement("div");
  players.className = "players";
  const groups = new Map();
  data.excerpts.forEach(([domain, name, id], number) => {
    if (!groups.has(domain)) {
      const group = document.createElement("optgroup");
      group.label = domain;
      groups.set(domain, group);
      select.append(group);
    }
    const option = document.createElement("option");
    option.value = number;
    option.textContent = id;
    groups.get(domain).append(option);
  });
  const show = () => {
    const name = data.excerpts[Number(select.value)][1];
    players.replaceChildren(...data.folders.map((folder) => {
      const box = document.createElement("label");
      const audio = document.createElement("audio");
      audio.controls = true;
      audio.preload = "none";
      audio.src = [data.audio, folder, `${name}.flac`].map(encodeURIComponent).join("/");
      audio.addEventListener("play", () => {
        for (const other of players.querySelectorAll("audio")) if (other !== audio) other.pause();
      });
      audio.addEventListener("error", () => { box.hidden = true; });
      box.append(folder, audio);
      return box;
    }));
  };
  select.addEventListener("change", show);
  place.replaceChildren(select, players);
  show();
})();
