// Panel beside the image: histogram and numbers before and after, and a strip of thumbnails of 0 to 8 iterations.

import { drawHistogram, numbers } from "./numbers.js";

const SAMPLE_PX = 256; // long side of the copy that the numbers are computed from
const THUMBNAIL_PX = 150;
const STILL_MS = 60; // thumbnails are drawn after this time without a change
const PLAYING_MS = 400; // the same while a video plays
const STRIP = 8;

const $ = (id) => document.getElementById(id);

export class Panel {
  /** `lift`: draws the image. `choose(iterations)`: called when a thumbnail is clicked. */
  constructor(lift, choose) {
    this.lift = lift;
    this.due = null;
    this.buttons = Array.from({ length: STRIP + 1 }, (_, iterations) => {
      const button = document.createElement("button");
      button.append(document.createElement("canvas"), String(iterations));
      button.title = iterations === 1 ? "1 iteration" : `${iterations} iterations`;
      button.addEventListener("click", () => choose(iterations));
      const item = document.createElement("li");
      item.append(button);
      $("strip").append(item);
      return button;
    });
  }

  /** Mark the thumbnail of the chosen number of iterations. */
  press(iterations) {
    this.buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(k === iterations)));
  }

  /** Update the numbers at once, and the thumbnails after a moment without changes; now and then while a video plays. */
  update(look, playing) {
    this.takeNumbers(look);
    if (playing && this.due) return;
    clearTimeout(this.due);
    this.due = setTimeout(() => {
      this.due = null;
      this.drawStrip(look);
    }, playing ? PLAYING_MS : STILL_MS);
  }

  /** Clear all, when no file is shown. */
  clear() {
    clearTimeout(this.due);
    for (const canvas of [$("histogram"), ...this.buttons.map((button) => button.firstChild)]) {
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    }
    for (const name of ["mean", "black", "white"]) {
      for (const when of ["before", "after"]) $(`${name}-${when}`).textContent = "";
    }
  }

  takeNumbers(look) {
    const size = this.scaledTo(SAMPLE_PX);
    const nearest = { nearest: true };
    const before = numbers(this.lift.sample({ ...look, iterations: 0 }, ...size, nearest));
    const after = numbers(this.lift.sample(look, ...size, nearest));
    drawHistogram($("histogram"), before, after);
    for (const [when, { mean, black, white }] of [["before", before], ["after", after]]) {
      $(`mean-${when}`).textContent = mean.toFixed(3);
      $(`black-${when}`).textContent = `${(black * 100).toFixed(1)} %`;
      $(`white-${when}`).textContent = `${(white * 100).toFixed(1)} %`;
    }
  }

  drawStrip(look) {
    const size = this.scaledTo(THUMBNAIL_PX);
    this.buttons.forEach((button, iterations) => {
      const canvas = button.firstChild;
      [canvas.width, canvas.height] = size;
      const pixels = new Uint8ClampedArray(this.lift.sample({ ...look, iterations }, ...size).buffer);
      canvas.getContext("2d").putImageData(new ImageData(pixels, ...size), 0, 0);
    });
  }

  scaledTo(longest) {
    const [width, height] = this.lift.size;
    const scale = Math.min(1, longest / Math.max(width, height));
    return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  }
}
