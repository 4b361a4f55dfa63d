// Statistics of an image: histogram of luma, its mean, and the shares of clipped pixels.

const BINS = 64;

/** Compute the statistics of `bytes`, RGBA. Luma is that of BT.601, as in the manifest. A pixel is black if R, G and B
 * are 0, white if one of them is 255. */
export function numbers(bytes) {
  const bins = new Array(BINS).fill(0);
  let sum = 0, black = 0, white = 0;
  for (let i = 0; i < bytes.length; i += 4) {
    const [r, g, b] = [bytes[i], bytes[i + 1], bytes[i + 2]];
    const luma = 0.299 * r + 0.587 * g + 0.114 * b;
    bins[Math.min(BINS - 1, Math.floor((luma * BINS) / 256))]++;
    sum += luma;
    black += r === 0 && g === 0 && b === 0;
    white += r === 255 || g === 255 || b === 255;
  }
  const count = bytes.length / 4;
  return { bins, mean: sum / count / 255, black: black / count, white: white / count };
}

/** Draw both histograms, one over the other. Heights are square roots of counts, so that small counts are visible. */
export function drawHistogram(canvas, before, after) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const most = Math.sqrt(Math.max(...before.bins, ...after.bins));
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  for (const [{ bins }, colour] of [[before, style.getPropertyValue("--before")], [after, style.getPropertyValue("--after")]]) {
    context.fillStyle = colour;
    bins.forEach((count, bin) => {
      const tall = (Math.sqrt(count) / most) * height;
      context.fillRect((bin * width) / BINS, height - tall, width / BINS, tall);
    });
  }
}
