// The page: what is chosen, what is shown. The server is asked for files and curve maps alone, never for a slider.

import { command } from "./command.js";
import { Film } from "./film.js";
import { Lift } from "./lift.js";
import { drawHistogram, numbers } from "./numbers.js";
import { asked, bitmapOf, mapsOf, packet } from "./packets.js";

const SAMPLE_PX = 256; // long side of what numbers are taken from
const THUMBNAIL_PX = 150;
const STRIP_PAUSE_MS = 400; // between two strips of a film that plays
const SIZES = ["auto", "64", "128", "256", "512"];

const $ = (id) => document.getElementById(id);
const state = { file: 0, divider: 0.5, aspect: 1, shown: null };
let exhibit, lift, film, stop;

const look = () => ({
  iterations: Number($("iterations").value),
  strength: Number($("strength").value),
  network: $("network").value,
  estimate: $("estimate").value,
});

const address = (what, more = {}) => {
  const { network, estimate } = look();
  return `files/${state.file}/${what}?${new URLSearchParams({ network, estimate, ...more })}`;
};

function tell(text, problem = false) {
  $("status").textContent = text;
  $("status").classList.toggle("problem", problem);
}

function failed(problem) {
  if (problem.name !== "AbortError") tell(problem.message, true);
}

// --- what is shown

async function open(number) {
  state.file = (number + exhibit.files.length) % exhibit.files.length;
  $("file").value = String(state.file);
  stop?.abort();
  stop = new AbortController();
  film?.close();
  film = state.shown = null;
  const { name, video } = exhibit.files[state.file];
  $("film").hidden = !video;
  tell(video ? `looking through ${name} ...` : `opening ${name} ...`);
  try {
    await (video ? openFilm : openPhoto)(stop.signal);
  } catch (problem) {
    $("frame").hidden = true;
    failed(problem);
  }
}

async function openPhoto(signal) {
  const [picture, maps] = await Promise.all([
    asked(address("picture"), signal).then(packet),
    asked(address("maps"), signal).then(packet),
  ]);
  const bitmap = await bitmapOf(picture.parts[0], "image/png");
  if (signal.aborted) return;
  state.aspect = 1;
  lift.setPicture(bitmap, { grey: picture.told.grey, still: true });
  bitmap.close();
  lift.setMaps(mapsOf(maps.told, maps.parts[0]));
  const { size, factor, notes } = picture.told;
  tell([`${size.join(" × ")} pixels`, ...(factor > 1 ? [`shown at 1/${factor}`] : []), ...notes].join(" · "));
  shown({ still: true });
}

async function openFilm(signal) {
  const told = await (await asked(address("film"), signal)).json();
  const { frames, size, aspect, hdr } = told;
  state.aspect = aspect;
  $("scrubber").max = String(frames - 1);
  tell([`${size.join(" × ")} pixels`, `${frames} frames`, ...(hdr ? [`${hdr}, shown as SDR`] : [])].join(" · "));
  film = new Film({
    frames,
    framesFrom: (rank) => address("frames", { from: rank }),
    told: failed,
    show: (frame) => {
      lift.setPicture(frame.bitmap);
      lift.setMaps(frame.maps);
      $("scrubber").value = String(frame.rank);
      $("time").textContent = `${clock(frame.at)} / ${clock(told.seconds)}`;
      shown({ rank: frame.rank });
    },
  });
  film.seek(0);
}

const clock = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(2).padStart(5, "0")}`;

function shown(what) {
  state.shown = what;
  $("frame").hidden = false;
  redraw();
}

/** Other curve maps of the same file. */
async function reestimate() {
  told();
  if (!state.shown) return;
  if (film) return film.refresh();
  try {
    const { told, parts } = await packet(await asked(address("maps"), stop.signal));
    lift.setMaps(mapsOf(told, parts[0]));
    redraw();
  } catch (problem) {
    failed(problem);
  }
}

function redraw() {
  told();
  if (!state.shown) return;
  lift.draw(look(), state.divider, drawnSize());
  placeDivider();
  takeNumbers();
  takeStrip();
}

/** Pixels of the canvas: the picture's own, or no more than are seen. */
function drawnSize() {
  const [width, height] = lift.size;
  const actual = $("actual").checked;
  $("frame").classList.toggle("actual", actual);
  const room = $("stage").clientWidth;
  const tall = window.innerHeight * (window.innerWidth <= 860 ? 0.58 : 0.72);
  const fit = Math.min(room / (width * state.aspect), tall / height, 2);
  const css = actual ? [width, height] : [width * state.aspect * fit, height * fit];
  $("view").style.width = `${Math.round(css[0])}px`;
  $("view").style.height = `${Math.round(css[1])}px`;
  const dense = actual ? 1 : Math.min(1, fit * window.devicePixelRatio);
  return [Math.max(1, Math.round(width * dense)), Math.max(1, Math.round(height * dense))];
}

function placeDivider() {
  $("divider").style.left = `${state.divider * $("view").clientWidth}px`;
  $("divider").setAttribute("aria-valuenow", String(Math.round(state.divider * 100)));
  $("tag-before").hidden = state.divider < 0.12;
  $("tag-after").hidden = state.divider > 0.88;
}

function scaledTo(longest) {
  const [width, height] = lift.size;
  const scale = Math.min(1, longest / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

function takeNumbers() {
  const size = scaledTo(SAMPLE_PX);
  const before = numbers(lift.sample({ ...look(), iterations: 0 }, ...size));
  const after = numbers(lift.sample(look(), ...size));
  drawHistogram($("histogram"), before, after);
  for (const [when, found] of [["before", before], ["after", after]]) {
    $(`mean-${when}`).textContent = found.mean.toFixed(3);
    $(`black-${when}`).textContent = `${(found.black * 100).toFixed(1)} %`;
    $(`white-${when}`).textContent = `${(found.white * 100).toFixed(1)} %`;
  }
}

let stripIsDue = null;

/** Thumbnails of iterations 0 to 8, once things have been still for a moment. */
function takeStrip() {
  if (stripIsDue && film?.playing) return;
  clearTimeout(stripIsDue);
  stripIsDue = setTimeout(() => {
    stripIsDue = null;
    if (!state.shown) return;
    const size = scaledTo(THUMBNAIL_PX);
    [...$("strip").querySelectorAll("canvas")].forEach((canvas, iterations) => {
      [canvas.width, canvas.height] = size;
      const pixels = new Uint8ClampedArray(lift.sample({ ...look(), iterations }, ...size).buffer);
      canvas.getContext("2d").putImageData(new ImageData(pixels, ...size), 0, 0);
    });
  }, film?.playing ? STRIP_PAUSE_MS : 60);
}

/** What follows from the settings alone. */
function told() {
  const { iterations, strength } = look();
  $("iterations-told").textContent = String(iterations);
  $("strength-told").textContent = strength.toFixed(2);
  $("command").textContent = command(exhibit, look());
  for (const [k, button] of [...$("strip").querySelectorAll("button")].entries()) {
    button.setAttribute("aria-pressed", String(k === iterations));
  }
}

// --- what is done

function setDivider(share) {
  state.divider = Math.min(1, Math.max(0, share));
  if (state.shown) lift.draw(look(), state.divider, drawnSize());
  placeDivider();
}

function nudge(id, by) {
  $(id).value = String(Number($(id).value) + by * Number($(id).step));
  redraw();
}

function play() {
  if (!film) return;
  if (film.playing) film.pause();
  else if (film.ended && !film.queue.length) {
    film.seek(0);
    film.play();
  } else film.play();
}

const KEYS = {
  ArrowUp: () => nudge("iterations", 1),
  ArrowDown: () => nudge("iterations", -1),
  "+": () => nudge("strength", 1),
  "-": () => nudge("strength", -1),
  ArrowLeft: () => setDivider(state.divider - 0.02),
  ArrowRight: () => setDivider(state.divider + 0.02),
  b: () => setDivider(state.divider < 0.5 ? 1 : 0),
  z: () => $("actual").click(),
  n: () => open(state.file + 1),
  p: () => open(state.file - 1),
  r: () => open(Math.floor(Math.random() * exhibit.files.length)),
  " ": play,
  ",": () => film?.step(-1),
  ".": () => film?.step(1),
};

function listen() {
  for (const id of ["iterations", "strength", "actual"]) $(id).addEventListener("input", redraw);
  for (const id of ["network", "estimate"]) $(id).addEventListener("input", reestimate);
  $("file").addEventListener("input", () => open(Number($("file").value)));
  $("previous").addEventListener("click", KEYS.p);
  $("next").addEventListener("click", KEYS.n);
  $("random").addEventListener("click", KEYS.r);
  $("play").addEventListener("click", play);
  $("scrubber").addEventListener("input", () => film?.seek(Number($("scrubber").value)));
  $("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText($("command").textContent);
    $("copy").textContent = "copied";
    setTimeout(() => ($("copy").textContent = "copy"), 1500);
  });
  const drag = (event) => {
    const box = $("view").getBoundingClientRect();
    setDivider((event.clientX - box.left) / box.width);
  };
  $("divider").addEventListener("pointerdown", (event) => $("divider").setPointerCapture(event.pointerId));
  $("divider").addEventListener("pointermove", (event) => event.buttons && drag(event));
  $("view").addEventListener("click", drag);
  window.addEventListener("resize", redraw);
  document.addEventListener("keydown", (event) => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const theirs = event.target.closest("input[type=range], select, summary, button") && /^Arrow| $/.test(event.key);
    if (theirs || event.ctrlKey || event.metaKey || event.altKey || !(key in KEYS)) return;
    event.preventDefault();
    KEYS[key]();
  });
  setInterval(() => ($("play").textContent = film?.playing ? "pause" : "play"), 100);
}

function fill() {
  $("file").append(...exhibit.files.map(({ name }, number) => new Option(name, String(number))));
  $("network").append(...exhibit.networks.map((name) => new Option(name, name)));
  const sizes = SIZES.includes(exhibit.estimate) || exhibit.estimate === "full" ? SIZES : [...SIZES, exhibit.estimate];
  $("estimate").append(...sizes.map((size) => new Option(size, size)));
  $("estimate").value = sizes.includes(exhibit.estimate) ? exhibit.estimate : "auto";
  $("iterations").value = String(exhibit.iterations);
  $("strength").value = String(exhibit.strength);
  for (let k = 0; k <= 8; k++) {
    const button = document.createElement("button");
    button.append(document.createElement("canvas"), String(k));
    button.title = `${k} iterations`;
    button.addEventListener("click", () => {
      $("iterations").value = String(k);
      redraw();
    });
    const item = document.createElement("li");
    item.append(button);
    $("strip").append(item);
  }
}

async function begin() {
  exhibit = await (await asked("exhibit")).json();
  fill();
  lift = new Lift($("view"));
  listen();
  await open(0);
}

begin().catch(failed);
