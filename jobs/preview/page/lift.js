// The light-enhancement curve as a WebGL 2 shader: from an image, its curve maps and cells it draws the enhanced image.
// One step is x <- x + r (x * x - x); steps beyond the last map repeat it (model/curve/reference.py is the reference).
// If the curve acts on light, the steps change only luma, and chroma follows (model/curve/light.py); their maps lie
// between those of shade and of light (model/curve/bilateral_grid.py). Cells clean a pixel before the curve and hold it
// back after it (model/noise/cleaning.py). At 0 iterations or strength 0 the image is drawn unchanged.

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
uniform sampler2D u_image;
uniform sampler2DArray u_maps;
uniform sampler2DArray u_cells;
uniform vec2 u_span;         // part of the maps that lies over the image
uniform vec2 u_cells_span;   // the same for the cells
uniform float u_black;       // luma below which nothing is lifted
uniform bool u_light;        // the curve acts on light
uniform int u_count;         // number of maps
uniform bool u_alike;        // one map for all channels
uniform bool u_grey;         // the image has one channel
uniform int u_quarters;      // number of 90-degree turns to the left that make the image upright
uniform int u_iterations;
uniform float u_strength;
uniform float u_divider;     // the image is unchanged to the left of it
in vec2 v_at;
out vec4 o_colour;

const vec3 SHARES = vec3(0.2126, 0.7152, 0.0722);  // of red, green and blue in luma
const float TOE = 0.1, SPAN = 0.5, LEAST_SPAN = 1.0 / 255.0, FULL = 0.96, LIFTED_UNSEEN = 8.0, TINY = 1e-6;

float luma_of(vec3 x) {
  return dot(x, SHARES);
}

vec3 curved(vec3 x, vec2 at, float place) {  // place: in light, between the maps of shade and of light
  for (int step = 0; step < u_iterations; step++) {
    vec3 r = textureLod(u_maps, vec3(at * u_span, float(min(step, u_count - 1))), 0.0).rgb;
    r = clamp((u_alike ? r.rrr : r) * u_strength, -1.0, 1.0);
    if (u_light) r = vec3(mix(r.r, r.g, place));
    x += r * (x * x - x);
  }
  return x;
}

vec3 lifted_in_light(vec3 x, vec2 at) {
  float luma = luma_of(x), span = SPAN * min(luma, 1.0 - luma) + LEAST_SPAN;
  vec3 light = vec3(luma, luma + span, 0.0);
  light = curved(light * (light + TOE) / (1.0 + TOE), at, sqrt(luma));
  vec3 coded = sqrt(light * (1.0 + TOE) + TOE * TOE / 4.0) - TOE / 2.0;
  float lifted = coded.x, rise = (coded.y - coded.x) / span;
  float highest = max(x.r, max(x.g, x.b)), lowest = min(x.r, min(x.g, x.b));
  float room_above = max(max(highest, FULL) - lifted, 0.0) / max(highest - luma, TINY);
  float room_below = lifted / max(luma - lowest, TINY);
  return lifted + min(rise, min(room_above, room_below)) * (x - luma);
}

vec3 cleaned(vec3 x, vec3 of_luma, vec3 of_colour) {  // of_luma: gain, offset, gain of colour; of_colour: offsets
  float luma = luma_of(x);
  float red = of_luma.z * (x.r - luma) + of_colour.x, blue = of_luma.z * (x.b - luma) + of_colour.y;
  float green = -(red * SHARES.r + blue * SHARES.b) / SHARES.g;
  return clamp(clamp(of_luma.x * luma + of_luma.y, 0.0, 1.0) + vec3(red, green, blue), 0.0, 1.0);
}

vec3 enhanced(vec3 x, vec2 at) {
  vec3 of_luma = textureLod(u_cells, vec3(at * u_cells_span, 0.0), 0.0).rgb;
  vec3 of_colour = textureLod(u_cells, vec3(at * u_cells_span, 1.0), 0.0).rgb;
  x = cleaned(x, of_luma, of_colour);
  float most = LIFTED_UNSEEN * max(luma_of(x) - u_black, 0.0), seen = of_colour.z;
  x = u_light ? lifted_in_light(x, at) : curved(x, at, 0.0);
  if (u_grey) x = vec3((x.r + x.g + x.b) / 3.0);
  return x * (seen + (1.0 - seen) * min(most / max(luma_of(x), TINY), 1.0));
}

void main() {
  vec2 at = v_at;  // position in the stored image
  if (u_quarters == 1) at = vec2(1.0 - v_at.y, v_at.x);
  if (u_quarters == 2) at = 1.0 - v_at;
  if (u_quarters == 3) at = vec2(v_at.y, 1.0 - v_at.x);
  vec3 x = texture(u_image, at).rgb;
  if (v_at.x >= u_divider && u_iterations > 0 && u_strength > 0.0) x = enhanced(x, at);
  o_colour = vec4(x, 1.0);
}`;

export class Lift {
  /** Draw on `canvas`. Throws an Error if the browser has no WebGL 2. */
  constructor(canvas) {
    this.canvas = canvas;
    const options = { alpha: false, antialias: false, depth: false, preserveDrawingBuffer: true };
    const gl = (this.gl = canvas.getContext("webgl2", options));
    if (!gl) throw new Error("This page needs WebGL 2, which this browser does not have. Try another browser.");
    this.program = linked(gl, VERTICES, FRAGMENTS);
    gl.useProgram(this.program);
    gl.uniform1i(this.at("u_maps"), 1);
    gl.uniform1i(this.at("u_cells"), 2);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.pixelStorei(gl.PACK_ALIGNMENT, 1);
    this.image = gl.createTexture();
    this.maps = gl.createTexture();
    this.cells = gl.createTexture();
    this.size = [1, 1];
    this.sampled = [0, 0];
  }

  at(name) {
    return this.gl.getUniformLocation(this.program, name);
  }

  /** Set the image. `bitmap`: stored RGB, colours not converted. `still`: the image may be drawn much smaller. */
  setImage(bitmap, { grey = false, still = false, quarters = 0 } = {}) {
    const gl = this.gl;
    this.bindImage(bitmap, grey, quarters);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, gl.RGB, gl.UNSIGNED_BYTE, bitmap);
    if (still) gl.generateMipmap(gl.TEXTURE_2D);
    this.minified = still ? gl.LINEAR_MIPMAP_LINEAR : gl.LINEAR;
    filter(gl, gl.TEXTURE_2D, this.minified);
  }

  /** Set an image of more than 8 bits. `halves`: RGB as 16-bit floats, row by row. */
  setDeepImage({ width, height, halves }, { grey = false } = {}) {
    const gl = this.gl;
    this.bindImage({ width, height }, grey, 0);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB16F, width, height, 0, gl.RGB, gl.HALF_FLOAT, halves);
    this.minified = gl.LINEAR;
    filter(gl, gl.TEXTURE_2D, this.minified);
  }

  minify(how) {
    const gl = this.gl;
    gl.activeTexture(gl.TEXTURE0);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, how);
  }

  bindImage({ width, height }, grey, quarters) {
    const gl = this.gl;
    this.size = quarters % 2 ? [height, width] : [width, height];
    gl.uniform1i(this.at("u_quarters"), quarters);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.image);
    gl.uniform1i(this.at("u_grey"), grey);
  }

  /** Set the curve maps. `shape`: maps, rows, columns, channels. `span`: see the shader. `halves`: values, as 16-bit
   * floats. `space`: what the curve acts on. `cells`: their shape, span and halves, and `black`. */
  setMaps({ shape, span, halves, space, cells }) {
    const gl = this.gl;
    gl.activeTexture(gl.TEXTURE1);
    this.fill(this.maps, shape, halves);
    gl.uniform2f(this.at("u_span"), ...span);
    gl.uniform1i(this.at("u_count"), shape[0]);
    gl.uniform1i(this.at("u_alike"), shape[3] === 1);
    gl.uniform1i(this.at("u_light"), space === "light");
    gl.activeTexture(gl.TEXTURE2);
    this.fill(this.cells, cells.shape, cells.halves);
    gl.uniform2f(this.at("u_cells_span"), ...cells.span);
    gl.uniform1f(this.at("u_black"), cells.black);
  }

  fill(texture, [layers, rows, columns, channels], halves) {
    const gl = this.gl;
    const [inner, outer] = [[gl.R16F, gl.RED], [gl.RG16F, gl.RG], [gl.RGB16F, gl.RGB]][channels - 1];
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
    gl.texImage3D(gl.TEXTURE_2D_ARRAY, 0, inner, columns, rows, layers, 0, outer, gl.HALF_FLOAT, halves);
    filter(gl, gl.TEXTURE_2D_ARRAY, gl.LINEAR);
  }

  /** Draw the image. `look`: iterations and strength. `divider`: 0 to 1. The canvas becomes `width` x `height` pixels. */
  draw(look, divider, [width, height]) {
    const gl = this.gl;
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    this.run(look, divider, width, height, 1);
  }

  /** Return the whole enhanced image at another size, as bytes of RGBA, rows from top to bottom. The canvas stays.
   *
   * `nearest`: take single pixels instead of means. */
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
