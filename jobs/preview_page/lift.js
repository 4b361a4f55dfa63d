// The light-enhancement curve as a WebGL 2 shader: a picture and its curve maps in, the lifted picture out.
// One step is x <- x + r (x * x - x); steps beyond the last map repeat it (model/curves.py is the reference).

const VERTICES = `#version 300 es
uniform float u_up;
out vec2 v_at;  // across and down, 0 to 1
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0;
  v_at = corner;
  gl_Position = vec4(corner.x * 2.0 - 1.0, (1.0 - corner.y * 2.0) * u_up, 0.0, 1.0);
}`;

const FRAGMENTS = `#version 300 es
precision highp float;
precision highp sampler2DArray;
uniform sampler2D u_picture;
uniform sampler2DArray u_maps;
uniform vec2 u_span;         // which part of the maps lies over the picture
uniform int u_count;         // maps
uniform bool u_alike;        // one map for all channels
uniform bool u_grey;         // the picture has one channel
uniform int u_quarters;      // by how many times 90 degrees it is turned to the left to be shown
uniform int u_iterations;
uniform float u_strength;
uniform float u_divider;     // left of it, the picture as it was
in vec2 v_at;
out vec4 o_colour;
void main() {
  vec2 at = v_at;  // in the picture as it is stored
  if (u_quarters == 1) at = vec2(1.0 - v_at.y, v_at.x);
  if (u_quarters == 2) at = 1.0 - v_at;
  if (u_quarters == 3) at = vec2(v_at.y, 1.0 - v_at.x);
  vec3 x = texture(u_picture, at).rgb;
  if (v_at.x >= u_divider) {
    for (int step = 0; step < u_iterations; step++) {
      vec3 r = textureLod(u_maps, vec3(at * u_span, float(min(step, u_count - 1))), 0.0).rgb;
      r = clamp((u_alike ? r.rrr : r) * u_strength, -1.0, 1.0);
      x += r * (x * x - x);
    }
    if (u_grey) x = vec3((x.r + x.g + x.b) / 3.0);
  }
  o_colour = vec4(x, 1.0);
}`;

export class Lift {
  /** Draws on `canvas`. Throws where the browser has no WebGL 2. */
  constructor(canvas) {
    this.canvas = canvas;
    const options = { alpha: false, antialias: false, depth: false, preserveDrawingBuffer: true };
    const gl = (this.gl = canvas.getContext("webgl2", options));
    if (!gl) throw new Error("This browser has no WebGL 2, which the page draws with. Try another one.");
    this.program = linked(gl, VERTICES, FRAGMENTS);
    gl.useProgram(this.program);
    gl.uniform1i(this.at("u_maps"), 1);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.pixelStorei(gl.PACK_ALIGNMENT, 1);
    this.picture = gl.createTexture();
    this.maps = gl.createTexture();
    this.size = [1, 1];
    this.sampled = [0, 0];
  }

  at(name) {
    return this.gl.getUniformLocation(this.program, name);
  }

  /** `bitmap`: of RGB as it is stored, colours not converted. `still`: it may be drawn much smaller. */
  setPicture(bitmap, { grey = false, still = false, quarters = 0 } = {}) {
    const gl = this.gl;
    this.bindPicture(bitmap, grey, quarters);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, gl.RGB, gl.UNSIGNED_BYTE, bitmap);
    if (still) gl.generateMipmap(gl.TEXTURE_2D);
    this.minified = still ? gl.LINEAR_MIPMAP_LINEAR : gl.LINEAR;
    filter(gl, gl.TEXTURE_2D, this.minified);
  }

  /** A picture of more than 8 bits. `halves`: RGB as 16-bit floats, row by row. */
  setDeepPicture({ width, height, halves }, { grey = false } = {}) {
    const gl = this.gl;
    this.bindPicture({ width, height }, grey, 0);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB16F, width, height, 0, gl.RGB, gl.HALF_FLOAT, halves);
    this.minified = gl.LINEAR;
    filter(gl, gl.TEXTURE_2D, this.minified);
  }

  minify(how) {
    const gl = this.gl;
    gl.activeTexture(gl.TEXTURE0);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, how);
  }

  bindPicture({ width, height }, grey, quarters) {
    const gl = this.gl;
    this.size = quarters % 2 ? [height, width] : [width, height];
    gl.uniform1i(this.at("u_quarters"), quarters);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.picture);
    gl.uniform1i(this.at("u_grey"), grey);
  }

  /** `shape`: maps, rows, columns, channels. `span`: see the shader. `halves`: the values, as 16-bit floats. */
  setMaps({ shape: [count, rows, columns, channels], span, halves }) {
    const gl = this.gl;
    const [inner, outer] = channels === 1 ? [gl.R16F, gl.RED] : [gl.RGB16F, gl.RGB];
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.maps);
    gl.texImage3D(gl.TEXTURE_2D_ARRAY, 0, inner, columns, rows, count, 0, outer, gl.HALF_FLOAT, halves);
    filter(gl, gl.TEXTURE_2D_ARRAY, gl.LINEAR);
    gl.uniform2f(this.at("u_span"), ...span);
    gl.uniform1i(this.at("u_count"), count);
    gl.uniform1i(this.at("u_alike"), channels === 1);
  }

  /** `look`: iterations and strength. `divider`: 0 to 1. The canvas becomes `width` x `height` pixels. */
  draw(look, divider, [width, height]) {
    const gl = this.gl;
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    this.run(look, divider, width, height, 1);
  }

  /** The whole picture under a look, RGBA, as bytes, rows from top to bottom, drawn aside at another size.
   *
   * `nearest`: of single pixels of it, not of means. */
  sample(look, width, height, { nearest = false } = {}) {
    const gl = this.gl;
    this.bindSample(width, height);
    if (nearest) this.minify(gl.NEAREST);
    this.run(look, 0, width, height, -1);
    if (nearest) this.minify(this.minified);
    const bytes = new Uint8Array(width * height * 4);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    return bytes;
  }

  bindSample(width, height) {
    const gl = this.gl;
    this.aside ??= { buffer: gl.createFramebuffer(), store: gl.createRenderbuffer() };
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.aside.buffer);
    if (this.sampled[0] === width && this.sampled[1] === height) return;
    gl.bindRenderbuffer(gl.RENDERBUFFER, this.aside.store);
    gl.renderbufferStorage(gl.RENDERBUFFER, gl.RGBA8, width, height);
    gl.framebufferRenderbuffer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.RENDERBUFFER, this.aside.store);
    this.sampled = [width, height];
  }

  run({ iterations, strength }, divider, width, height, up) {
    const gl = this.gl;
    gl.viewport(0, 0, width, height);
    gl.uniform1i(this.at("u_iterations"), iterations);
    gl.uniform1f(this.at("u_strength"), strength);
    gl.uniform1f(this.at("u_divider"), divider);
    gl.uniform1f(this.at("u_up"), up);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}

function filter(gl, target, minified) {
  gl.texParameteri(target, gl.TEXTURE_MIN_FILTER, minified);
  gl.texParameteri(target, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
  gl.texParameteri(target, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(target, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
}

function linked(gl, vertices, fragments) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertices], [gl.FRAGMENT_SHADER, fragments]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  return program;
}
