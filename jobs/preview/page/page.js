// The page: what is chosen, what is shown. The server is asked for files and curve maps alone, never for a slider.

import { command } from "./command.js";
import { Film } from "./film.js";
import { Lift } from "./lift.js";
import { asked, bitmapOf, mapsOf, packet } from "./packets.js";
import { Panel } from "./panel.js";

const SIZES = ["auto", "64", "128", "256", "512", "full"];
const CAPPED = "curve maps are estimated at 1024 pixels here; the job takes more";
const SCRUB_MS = 120; // after which a place is looked for

const $ = (id) => document.getElementById(id);
const state = { file: 0, divider: 0.5, aspect: 1, shown: false, facts: [] };
const page = crypto.randomUUID();
let turn = 0; // the server drops what an older one of this page asks for
let exhibit, lift, panel, film, stop, scrubbing;

const look = () => ({
  iterations: Number($("iterations").value),
  strength: Number($("strength").value),
  network: $("network").value,
  estimate: $("estimate").value,
});

const address = (what, more = {}) => {
  const { network, estimate } = look();
  return `files/${state.file}/${what}?${new URLSearchParams({ page, turn, network, estimate, ...more })}`;
};

function tell(text, problem = false) {
  $("status").textContent = text;
  $("status").classList.toggle("problem", problem);
}

function failed(problem) {
  if (problem.name === "AbortError") return;
  if (!state.shown) {
    panel.clear();
    $("film").hidden = true;
  }
  $("stage").setAttribute("aria-busy", "false");
  $("frame").hidden = !state.shown;
  tell(problem.message, true);
}

// --- what is shown

async function open(number) {
  turn++;
  clearTimeout(scrubbing);
  state.file = (number + exhibit.files.length) % exhibit.files.length;
  $("file").value = String(state.file);
  stop?.abort();
  stop = new AbortController();
  film?.close();
  film = null;
  state.shown = false;
  const { name, video } = exhibit.files[state.file];
  $("film").hidden = !video;
  $("time").textContent = "";
  tell(video ? `looking through ${name} ...` : `opening ${name} ...`);
  $("stage").setAttribute("aria-busy", "true");
  try {
    await (video ? openFilm : openPhoto)(stop.signal);
  } catch (problem) {
    failed(problem);
  }
}

async function openPhoto(signal) {
  const [picture, maps] = await Promise.all([
    asked(address("picture"), signal).then(packet),
    asked(address("maps"), signal).then(packet),
  ]);
  const { size, factor, grey, deep, notes } = picture.told;
  const bitmap = deep ? null : await bitmapOf(picture.parts[0], "image/png");
  if (signal.aborted) return;
  state.aspect = 1;
  if (deep) {
    const [width, height] = size.map((side) => Math.ceil(side / factor));
    lift.setDeepPicture({ width, height, halves: new Uint16Array(picture.parts[0].buffer) }, { grey });
  } else {
    lift.setPicture(bitmap, { grey, still: true });
    bitmap.close();
  }
  lift.setMaps(mapsOf(maps.told, ...maps.parts));
  state.facts = [`${size.join(" × ")} pixels`, ...(factor > 1 ? [`shown at 1/${factor}`] : []), ...notes];
  shown(maps.told.capped);
}

async function openFilm(signal) {
  const told = await (await asked(address("film"), signal)).json();
  const { frames, size, aspect, hdr } = told;
  $("scrubber").max = String(frames - 1);
  state.facts = [`${size.join(" × ")} pixels`, `${frames} frames`, ...(hdr ? [`${hdr}, shown as SDR`] : [])];
  film = new Film({
    frames,
    framesFrom: (rank) => {
      turn++;
      return address("frames", { from: rank });
    },
    waits,
    failed,
    turned: () => ($("play").textContent = film?.playing ? "pause" : "play"),
    show: (frame) => {
      state.aspect = frame.quarters % 2 ? 1 / aspect : aspect;
      lift.setPicture(frame.bitmap, { quarters: frame.quarters });
      lift.setMaps(frame.maps);
      $("scrubber").value = String(frame.rank);
      $("time").textContent = `${clock(frame.at)} / ${clock(told.seconds)}`;
      shown(frame.capped);
    },
  });
  film.seek(0);
}

const clock = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(2).padStart(5, "0")}`;

function waits() {
  $("stage").setAttribute("aria-busy", "true");
  tell([...state.facts, "estimating ..."].join(" · "));
}

/** `capped`: the job's curve maps are finer. */
function shown(capped) {
  state.shown = true;
  tell([...state.facts, ...(capped ? [CAPPED] : [])].join(" · "));
  $("frame").hidden = false;
  $("stage").setAttribute("aria-busy", "false");
  redraw();
}

/** Other curve maps of the same file. */
async function reestimate() {
  describe();
  if (!state.shown) return open(state.file);
  if (film) return film.refresh();
  turn++;
  stop.abort();
  stop = new AbortController();
  const { signal } = stop;
  waits();
  try {
    const { told, parts } = await packet(await asked(address("maps"), signal));
    if (signal.aborted) return;
    lift.setMaps(mapsOf(told, ...parts));
    shown(told.capped);
  } catch (problem) {
    failed(problem);
  }
}

function redraw() {
  describe();
  if (!state.shown) return;
  lift.draw(look(), state.divider, drawnSize());
  placeDivider();
  panel.update(look(), film?.playing);
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
  $("divider").style.height = `${$("view").clientHeight}px`;
  $("divider").style.left = `${state.divider * $("view").clientWidth}px`;
  $("divider").setAttribute("aria-valuenow", String(Math.round(state.divider * 100)));
  $("tag-before").hidden = state.divider < 0.12;
  $("tag-after").hidden = state.divider > 0.88;
}

/** What follows from the settings alone. */
function describe() {
  const { iterations, strength } = look();
  $("iterations-told").textContent = String(iterations);
  $("strength-told").textContent = strength.toFixed(2);
  $("command").textContent = command(exhibit, look());
  panel.press(iterations);
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
  if (film?.playing) film.pause();
  else film?.play();
}

const KEYS = {
  ArrowUp: () => nudge("iterations", 1),
  ArrowDown: () => nudge("iterations", -1),
  "+": () => nudge("strength", 5),
  "-": () => nudge("strength", -5),
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

/** Whether what has the focus uses the key itself. */
function isTheirs({ target, key }) {
  if (key === " ") return target.matches("button, summary, select, input");
  return key.startsWith("Arrow") && target.matches("select, input[type=range]");
}

function listen() {
  for (const id of ["iterations", "strength", "actual"]) $(id).addEventListener("input", redraw);
  for (const id of ["network", "estimate"]) $(id).addEventListener("input", reestimate);
  $("file").addEventListener("input", () => open(Number($("file").value)));
  $("previous").addEventListener("click", KEYS.p);
  $("next").addEventListener("click", KEYS.n);
  $("random").addEventListener("click", KEYS.r);
  $("play").addEventListener("click", play);
  $("scrubber").addEventListener("input", () => {
    clearTimeout(scrubbing);
    scrubbing = setTimeout(() => film?.seek(Number($("scrubber").value)), SCRUB_MS);
  });
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("command").textContent);
      $("copy").textContent = "copied";
    } catch {
      getSelection().selectAllChildren($("command"));
      $("copy").textContent = "press Ctrl+C";
    }
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
    if (isTheirs(event) || event.ctrlKey || event.metaKey || event.altKey || !(key in KEYS)) return;
    event.preventDefault();
    KEYS[key]();
  });
}

function fill() {
  $("file").append(...exhibit.files.map(({ name }, number) => new Option(name, String(number))));
  $("network").append(...exhibit.networks.map((name) => new Option(name, name)));
  const sizes = SIZES.includes(exhibit.estimate) ? SIZES : [...SIZES, exhibit.estimate];
  $("estimate").append(...sizes.map((size) => new Option(size, size)));
  $("estimate").value = exhibit.estimate;
  $("iterations").value = String(exhibit.iterations);
  $("strength").value = String(exhibit.strength);
}

async function begin() {
  exhibit = await (await asked("exhibit")).json();
  fill();
  lift = new Lift($("view"));
  panel = new Panel(lift, (iterations) => {
    $("iterations").value = String(iterations);
    redraw();
  });
  listen();
  describe();
  await open(0);
}

begin().catch(failed);
