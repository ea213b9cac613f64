// Pictures that are numbers, and how they are coloured.
"use strict";

// Codes of a grey picture: 0 is no data, otherwise 1 plus whole steps.
async function codesOf(raster) {
  const picture = new Image();
  picture.src = raster.url;
  await picture.decode();
  const canvas = canvasOf(picture.naturalWidth, picture.naturalHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const codes = new Uint8Array(canvas.width * canvas.height);
  const counts = new Array(256).fill(0);
  for (let i = 0; i < codes.length; i++) counts[(codes[i] = data[4 * i])]++;
  return { codes, counts, width: canvas.width, height: canvas.height, steps: raster.steps, top: raster.top };
}

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

const channelsOf = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

// Red, green and blue at a share from 0 to 1 of a ramp of [share, colour].
function mixed(ramp, share) {
  const next = Math.max(1, ramp.findIndex(([at]) => at >= share));
  const [[low, first], [high, last]] = [ramp[next - 1], ramp[next]];
  const part = Math.min(1, Math.max(0, (share - low) / (high - low)));
  const [from, to] = [channelsOf(first), channelsOf(last)];
  return from.map((channel, i) => Math.round(channel + part * (to[i] - channel)));
}

// A table from code to a pixel as canvases have it in memory.
function paletteOf(steps, rgbaAt) {
  const bytes = new Uint8ClampedArray(4 * 256);
  for (let step = 0; step <= steps; step++) bytes.set(rgbaAt(step), 4 * (step + 1));
  return new Uint32Array(bytes.buffer);
}

function paint(canvas, { codes, width, height }, palette) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = palette[codes[i]];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Low probabilities let the relief below through.
function rampPalette(ramp, steps, clear) {
  return paletteOf(steps, (step) => {
    const share = step / steps;
    return [...mixed(ramp, share), clear ? 255 * 0.85 * Math.min(1, share / 0.3) : 255];
  });
}

function cutPalette(colour, steps, least) {
  return paletteOf(steps, (step) => (step >= least ? [...channelsOf(colour), 140] : [0, 0, 0, 0]));
}

// How many pixels reach a step, and how many have data.
function countFrom({ counts }, least) {
  const from = (code) => counts.slice(code).reduce((sum, count) => sum + count, 0);
  return { reached: from(least + 1), known: from(1) };
}
