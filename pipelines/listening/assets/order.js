"use strict";
// Which screens a rater gets, and in which order: the same as listening/order.py.
const Order = (() => {
  function mixed(text) {
    let value = 0x811c9dc5;
    for (const byte of new TextEncoder().encode(text)) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
    for (const [shift, factor] of [[16, 0x85ebca6b], [13, 0xc2b2ae35]]) value = Math.imul(value ^ (value >>> shift), factor) >>> 0;
    return (value ^ (value >>> 16)) >>> 0;
  }

  function shuffled(names, ...key) {
    const before = key.join("|");
    return names.map((name) => [mixed(`${before}|${name}`), name])
      .sort((one, other) => one[0] - other[0] || (one[1] < other[1] ? -1 : 1)).map((pair) => pair[1]);
  }

  function screens(names, seed, rater, perRater) {
    const dealt = shuffled(names, seed, "screens"), count = Math.min(perRater, dealt.length);
    const number = /^[0-9]{1,9}$/.test(rater) ? Number(rater) - 1 : mixed(`${seed}|${rater}`);
    const first = (((number * count) % dealt.length) + dealt.length) % dealt.length;
    return shuffled(dealt.map((_, step) => dealt[(first + step) % dealt.length]).slice(0, count), seed, rater);
  }

  return {screens, stimuli: (names, seed, rater, screen) => shuffled(names, seed, rater, screen)};
})();
