// What the server sends: a length in four bytes, a JSON text of it, and parts whose lengths the text tells.

/** The answer of the server. Throws Error with its message where it could not do what it was asked for. */
export async function asked(address, signal) {
  const response = await fetch(address, { signal }).catch((problem) => {
    throw problem.name === "AbortError" ? problem : new Error("The server does not answer; is it still there?");
  });
  if (response.ok) return response;
  const problem = response.status === 422 ? await response.json() : null;
  throw new Error(problem ? `${problem.code}: ${problem.message}` : `The server answered ${response.status}.`);
}

/** Each packet as it arrives: { told, parts }. No more is read than is taken. */
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

/** The only packet of an answer. */
export async function packet(response) {
  for await (const one of packets(response)) return one;
  throw new Error("The server's answer was cut short.");
}

/** Pixels of an encoded picture as they are stored: no colour is converted. */
export function bitmapOf(bytes, type) {
  return createImageBitmap(new Blob([bytes], { type }), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
}

/** Curve maps and cells as `Lift.setMaps` takes them. */
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
