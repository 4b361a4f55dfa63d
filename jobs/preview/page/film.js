// A video as the server sends it: frames with their curve maps, from a place on, a few held ahead of the one shown.

import { asked, bitmapOf, mapsOf, packets } from "./packets.js";

const AHEAD = 48; // frames that are held
const LATE_S = 0.25; // from which a frame was waited for

export class Film {
  /** `frames`: how many there are. `framesFrom(rank)`: address to ask for frames.
   *
   * What the page is told: `show(frame)`: put it there; `waits()`: for a frame that was sought; `failed(problem)`: an
   * Error; `turned()`: it plays now, or no more.
   */
  constructor({ frames, framesFrom, show, waits, failed, turned }) {
    Object.assign(this, { frames, framesFrom, show, waits, failed, turned });
    this.queue = [];
    this.playing = false;
    this.ended = false;
    this.shown = null;
    this.wanted = 0; // the rank that was sought, or is shown
  }

  /** Show the frame of this rank, or the next that can be decoded, and hold those after it. */
  seek(rank) {
    this.drop();
    this.wanted = Math.min(Math.max(rank, 0), this.frames - 1);
    this.ended = false;
    this.waits();
    const stop = (this.stop = new AbortController());
    this.fill(this.wanted, stop.signal).catch((problem) => {
      if (stop.signal.aborted) return;
      this.ended = true;
      this.failed(problem);
    });
  }

  /** Ask for the frames again, as under another network. */
  refresh() {
    this.seek(this.wanted);
  }

  async fill(rank, signal) {
    let first = true;
    for await (const { told, parts } of packets(await asked(this.framesFrom(rank), signal))) {
      if (told.message) throw new Error(`${told.code}: ${told.message}`);
      if (told.end && first) throw new Error("From here on no frame can be decoded.");
      if (told.end) return void (this.ended = true);
      const [picture, ...maps] = parts;
      const frame = { ...told, bitmap: await bitmapOf(picture, "image/jpeg"), maps: mapsOf(told, ...maps) };
      if (signal.aborted) return frame.bitmap.close();
      if (first) this.put(frame);
      else this.queue.push(frame);
      first = false;
      while (this.queue.length >= AHEAD && !signal.aborted) await new Promise((done) => setTimeout(done, 20));
    }
    if (!signal.aborted) throw new Error("The server has sent no more; is it still there?");
  }

  put(frame) {
    this.shown?.bitmap.close();
    this.shown = frame;
    this.started = { clock: performance.now(), at: frame.at };
    this.show(frame);
  }

  /** The next frame of the queue. */
  advance() {
    const frame = this.queue.shift();
    this.wanted = frame.rank;
    return frame;
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
      next = this.advance();
    }
    if (next) {
      const { clock, at } = this.started;
      this.put(next);
      if (due - next.at <= LATE_S) this.started = { clock, at };
    }
    if (this.ended && !this.queue.length) return this.pause();
    this.ticking = requestAnimationFrame(() => this.tick());
  }

  /** Show the next frame, or one before the one shown. */
  step(by) {
    this.pause();
    if (by === 1 && this.queue.length) this.put(this.advance());
    else this.seek(this.wanted + by);
  }

  /** Ask for no more. */
  drop() {
    this.stop?.abort();
    for (const frame of this.queue.splice(0)) frame.bitmap.close();
  }

  /** For good. */
  close() {
    this.pause();
    this.drop();
    this.shown?.bitmap.close();
  }
}
