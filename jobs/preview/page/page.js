// The page. Only files and curve maps come from the server: moving a slider sends no request.

import { command } from "./command.js";
import { Lift } from "./lift.js";
import { asked, bitmapOf, mapsOf, packet } from "./packets.js";
import { Panel } from "./panel.js";
import { Player } from "./player.js";

const SIZES = ["auto", "64", "128", "256", "512", "full"];
const CAPPED = "curve maps are estimated at 1024 pixels here; the job uses more";
const SCRUB_MS = 120; // pause of the scrubber after which its frame is requested

const $ = (id) => document.getElementById(id);
const state = { file: 0, divider: 0.5, aspect: 1, shown: false, facts: [] };
const page = crypto.randomUUID();
let turn = 0; // number of the newest request: the server drops older ones of this page
let exhibit, lift, panel, player, stop, scrubbing;

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
    $("player").hidden = true;
  }
  $("stage").setAttribute("aria-busy", "false");
  $("frame").hidden = !state.shown;
  tell(problem.message, true);
}

// --- display

async function open(number) {
  turn++;
  clearTimeout(scrubbing);
  state.file = (number + exhibit.files.length) % exhibit.files.length;
  $("file").value = String(state.file);
  stop?.abort();
  stop = new AbortController();
  player?.close();
  player = null;
  state.shown = false;
  const { name, video } = exhibit.files[state.file];
  $("player").hidden = !video;
  $("time").textContent = "";
  tell(video ? `reading ${name} ...` : `opening ${name} ...`);
  $("stage").setAttribute("aria-busy", "true");
  try {
    await (video ? openVideo : openPhoto)(stop.signal);
  } catch (problem) {
    failed(problem);
  }
}

async function openPhoto(signal) {
  const [image, maps] = await Promise.all([
    asked(address("image"), signal).then(packet),
    asked(address("maps"), signal).then(packet),
  ]);
  const { size, factor, grey, deep, notes } = image.told;
  const bitmap = deep ? null : await bitmapOf(image.parts[0], "image/png");
  if (signal.aborted) return;
  state.aspect = 1;
  if (deep) {
    const [width, height] = size.map((side) => Math.ceil(side / factor));
    lift.setDeepImage({ width, height, halves: new Uint16Array(image.parts[0].buffer) }, { grey });
  } else {
    lift.setImage(bitmap, { grey, still: true });
    bitmap.close();
  }
  lift.setMaps(mapsOf(maps.told, ...maps.parts));
  state.facts = [`${size.join(" × ")} pixels`, ...(factor > 1 ? [`shown at 1/${factor} of its size`] : []), ...notes];
  shown(maps.told.capped);
}

async function openVideo(signal) {
  const told = await (await asked(address("video"), signal)).json();
  const { frames, size, aspect, hdr } = told;
  $("scrubber").max = String(frames - 1);
  state.facts = [`${size.join(" × ")} pixels`, `${frames} frames`, ...(hdr ? [`${hdr}, shown as SDR`] : [])];
  player = new Player({
    frames,
    framesFrom: (rank) => {
      turn++;
      return address("frames", { from: rank });
    },
    waits,
    failed,
    turned: () => ($("play").textContent = player?.playing ? "pause" : "play"),
    show: (frame) => {
      state.aspect = frame.quarters % 2 ? 1 / aspect : aspect;
      lift.setImage(frame.bitmap, { quarters: frame.quarters });
      lift.setMaps(frame.maps);
      $("scrubber").value = String(frame.rank);
      $("time").textContent = `${clock(frame.at)} / ${clock(told.seconds)}`;
      shown(frame.capped);
    },
  });
  player.seek(0);
}

const clock = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(2).padStart(5, "0")}`;

function waits() {
  $("stage").setAttribute("aria-busy", "true");
  tell([...state.facts, "estimating ..."].join(" · "));
}

/** Show the file and its facts. `capped`: the curve maps of a job are finer. */
function shown(capped) {
  state.shown = true;
  tell([...state.facts, ...(capped ? [CAPPED] : [])].join(" · "));
  $("frame").hidden = false;
  $("stage").setAttribute("aria-busy", "false");
  redraw();
}

/** Request other curve maps of the same file. */
async function reestimate() {
  describe();
  if (!state.shown) return open(state.file);
  if (player) return player.refresh();
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
  panel.update(look(), player?.playing);
}

/** Return the size of the canvas in pixels: that of the image, or no more than is visible. */
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

/** Update what depends only on the settings. */
function describe() {
  const { iterations, strength } = look();
  $("iterations-told").textContent = String(iterations);
  $("strength-told").textContent = strength.toFixed(2);
  $("command").textContent = command(exhibit, look());
  panel.press(iterations);
}

// --- actions

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
  if (player?.playing) player.pause();
  else player?.play();
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
  ",": () => player?.step(-1),
  ".": () => player?.step(1),
};

/** Return whether the element with the focus uses the key itself. */
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
    scrubbing = setTimeout(() => player?.seek(Number($("scrubber").value)), SCRUB_MS);
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
