// A video as the server sends it: frames with their curve maps, from a place on, a few held ahead of the one shown.

import { asked, bitmapOf, mapsOf, packets } from "./packets.js";

const AHEAD = 48; // frames that are held

export class Film {
  /** `framesFrom(rank)`: address to ask for frames. `show(frame)`: puts one on the page. `failed(problem)`: takes an
   * Error. `turned()`: it plays now, or no more. */
  constructor({ frames, framesFrom, show, failed, turned }) {
    Object.assign(this, { frames, framesFrom, show, failed, turned });
    this.queue = [];
    this.playing = false;
    this.ended = false;
    this.shown = null;
  }

  get rank() {
    return this.shown?.rank ?? 0;
  }

  /** Show the frame of this rank, or the next that can be decoded, and hold those after it. */
  seek(rank) {
    this.close();
    const stop = (this.stop = new AbortController());
    this.ended = false;
    this.fill(rank, stop.signal).catch((problem) => stop.signal.aborted || this.failed(problem));
  }

  /** Ask for the frames again, as under another network. */
  refresh() {
    this.seek(this.rank);
  }

  async fill(rank, signal) {
    let first = true;
    for await (const { told, parts } of packets(await asked(this.framesFrom(rank), signal))) {
      if (told.message) throw new Error(`${told.code}: ${told.message}`);
      const frame = { rank: told.rank, at: told.at, quarters: told.quarters, bitmap: await bitmapOf(parts[0], "image/jpeg") };
      frame.maps = mapsOf(told, parts[1]);
      if (signal.aborted) return;
      if (first) this.put(frame);
      else this.queue.push(frame);
      first = false;
      while (this.queue.length >= AHEAD && !signal.aborted) await new Promise((done) => setTimeout(done, 20));
    }
    this.ended = !signal.aborted;
  }

  put(frame) {
    this.shown?.bitmap.close();
    this.shown = frame;
    this.started = { clock: performance.now(), at: frame.at };
    this.show(frame);
  }

  play() {
    if (this.ended && !this.queue.length) this.seek(0);
    if (this.shown) this.started = { clock: performance.now(), at: this.shown.at };
    this.playing = true;
    this.ticking = requestAnimationFrame(() => this.tick());
    this.turned();
  }

  pause() {
    this.playing = false;
    cancelAnimationFrame(this.ticking);
    this.turned();
  }

  /** Show what is due. Where frames come too slowly, time waits for them. */
  tick() {
    const due = this.started ? this.started.at + (performance.now() - this.started.clock) / 1000 : 0;
    let next = null;
    while (this.queue.length && this.queue[0].at <= due) {
      next?.bitmap.close();
      next = this.queue.shift();
    }
    if (next) {
      const { clock, at } = this.started;
      const late = due - next.at > 0.25; // it was waited for
      this.put(next);
      if (!late) this.started = { clock, at };
    }
    if (this.ended && !this.queue.length) return this.pause();
    this.ticking = requestAnimationFrame(() => this.tick());
  }

  /** Show the next frame, or one before the one shown. */
  step(by) {
    this.pause();
    if (by === 1 && this.queue.length) this.put(this.queue.shift());
    else this.seek(Math.min(Math.max(this.rank + by, 0), this.frames - 1));
  }

  /** Ask for no more. */
  close() {
    this.stop?.abort();
    for (const frame of this.queue.splice(0)) frame.bitmap.close();
  }
}
