// Packets of the server: the length of a JSON text in four bytes, the text, and parts whose lengths the text holds.

/** Request an address. Returns the response; throws an Error with the server's message if there is a problem. */
export async function asked(address, signal) {
  const response = await fetch(address, { signal }).catch((problem) => {
    if (problem.name === "AbortError") throw problem;
    throw new Error("The server does not answer. Is nightlift preview still running?");
  });
  if (response.ok) return response;
  const problem = response.status === 422 ? await response.json() : null;
  throw new Error(problem ? `${problem.code}: ${problem.message}` : `The server answered with status ${response.status}.`);
}

/** Yield each packet as it arrives: { told, parts }. Reads no further ahead than is taken. */
export async function* packets(response) {
  const reader = response.body.getReader();
  let held = new Uint8Array(0);

  async function has(count) {
    const chunks = [held];
    let length = held.length;
    while (length < count) {
      const { value, done } = await reader.read();
      if (done) break;
      chunks.push(value);
      length += value.length;
    }
    held = joined(chunks, length);
    return length >= count;
  }

  function take(count) {
    const taken = held.slice(0, count);
    held = held.subarray(count);
    return taken;
  }

  try {
    while (await has(4)) {
      const length = new DataView(take(4).buffer).getUint32(0, true);
      if (!(await has(length))) return;
      const told = JSON.parse(new TextDecoder().decode(take(length)));
      const total = told.lengths.reduce((sum, part) => sum + part, 0);
      if (!(await has(total))) return;
      yield { told, parts: told.lengths.map(take) };
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Return the only packet of a response. */
export async function packet(response) {
  for await (const one of packets(response)) return one;
  throw new Error("The answer of the server is incomplete.");
}

/** Decode an image to its stored pixels, without converting colours. */
export function bitmapOf(bytes, type) {
  return createImageBitmap(new Blob([bytes], { type }), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
}

/** Return curve maps and cells in the form for `Lift.setMaps`. */
export function mapsOf({ shape, span, space, cells }, bytes, bytesOfCells) {
  return {
    shape,
    span,
    space,
    halves: new Uint16Array(bytes.buffer),
    cells: { ...cells, halves: new Uint16Array(bytesOfCells.buffer) },
  };
}

function joined(chunks, length) {
  if (chunks.length === 1) return chunks[0];
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
