// Player of a video. The server sends frames with their curve maps; a few are held ahead of the one that is shown.

import { asked, bitmapOf, mapsOf, packets } from "./packets.js";

const AHEAD = 48; // frames held ahead
const LATE_S = 0.25; // a frame that is later than this was waited for: the clock starts again at it

export class Player {
  /** `frames`: number of frames. `framesFrom(rank)`: returns the address that sends frames from this rank on.
   *
   * Functions that are called: `show(frame)` to show a frame; `waits()` when a frame was requested; `failed(problem)`
   * with an Error; `turned()` when playing starts or stops.
   */
  constructor({ frames, framesFrom, show, waits, failed, turned }) {
    Object.assign(this, { frames, framesFrom, show, waits, failed, turned });
    this.queue = [];
    this.playing = false;
    this.ended = false;
    this.shown = null;
    this.wanted = 0; // rank of the frame that was requested, or is shown
  }

  /** Show the frame of this rank, or the next one that can be decoded, and hold those after it. */
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

  /** Request the frames again, as after a change of the network. */
  refresh() {
    this.seek(this.wanted);
  }

  async fill(rank, signal) {
    let first = true;
    for await (const { told, parts } of packets(await asked(this.framesFrom(rank), signal))) {
      if (told.message) throw new Error(`${told.code}: ${told.message}`);
      if (told.end && first) throw new Error("No frame can be decoded from here on.");
      if (told.end) return void (this.ended = true);
      const [image, ...maps] = parts;
      const frame = { ...told, bitmap: await bitmapOf(image, "image/jpeg"), maps: mapsOf(told, ...maps) };
      if (signal.aborted) return frame.bitmap.close();
      if (first) this.put(frame);
      else this.queue.push(frame);
      first = false;
      while (this.queue.length >= AHEAD && !signal.aborted) await new Promise((done) => setTimeout(done, 20));
    }
    if (!signal.aborted) throw new Error("The server stopped sending. Is nightlift preview still running?");
  }

  put(frame) {
    this.shown?.bitmap.close();
    this.shown = frame;
    this.started = { clock: performance.now(), at: frame.at };
    this.show(frame);
  }

  /** Take the next frame of the queue. */
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

  /** Show the frame that is due. If frames come too slowly, the clock waits for them. */
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

  /** Show the next frame (`by` is 1) or the previous one (-1). */
  step(by) {
    this.pause();
    if (by === 1 && this.queue.length) this.put(this.advance());
    else this.seek(this.wanted + by);
  }

  /** Stop the request, and drop the frames that are held. */
  drop() {
    this.stop?.abort();
    for (const frame of this.queue.splice(0)) frame.bitmap.close();
  }

  /** End the player. */
  close() {
    this.pause();
    this.drop();
    this.shown?.bitmap.close();
  }
}
