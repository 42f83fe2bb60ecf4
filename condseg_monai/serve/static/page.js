"use strict";

const $ = (id) => document.getElementById(id);
const INFERNO = [[0, 0, 4], [22, 11, 57], [66, 10, 104], [106, 23, 110], [147, 38, 103], [188, 55, 84], [221, 81, 58],
  [243, 120, 25], [252, 165, 10], [246, 215, 70], [252, 255, 164]];
const HEAT = Array.from({ length: 256 }, (_, i) => {
  const at = (i / 255) * (INFERNO.length - 1), low = Math.min(Math.floor(at), INFERNO.length - 2);
  return INFERNO[low].map((value, k) => Math.round(value + (at - low) * (INFERNO[low + 1][k] - value)));
});
const YELLOW = [255, 221, 0];
const BAND = [0.25, 0.75]; // probabilities that are shown where a model has no uncertainty region, or an empty one
const PLANES = ["axial", "coronal", "sagittal"];

let service; // what /health says
let shown; // files, answer and pixels of the result
let request = new AbortController();

const rgb = (color) => [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
const bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const unpacked = async (base64) => new Uint8Array(await new Response(
  new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());

function say(text, kind = "") {
  $("status").textContent = text;
  $("status").className = kind;
}

/* ---- asking the service ---- */

async function predict(files, query, signal) {
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  if (bytes > service.max_upload_bytes) {
    throw new Error(`${bytes} bytes are more than the limit of ${service.max_upload_bytes}`);
  }
  const form = new FormData();
  for (const file of files) form.append("file", file, file.name);
  const response = await fetch(`predict?${query}`, { method: "POST", body: form, signal });
  if (response.ok) return response;
  const { detail } = await response.json();
  const after = response.headers.get("Retry-After");
  throw new Error((typeof detail === "string" ? detail : detail[0].msg) + (after ? ` (in ${after} s)` : ""));
}

async function segment(files) {
  if (!files.length) return;
  request.abort();
  request = new AbortController();
  const { signal } = request;
  const name = files.length > 1 ? `${files.length} files` : files[0].name;
  say(`segmenting ${name}`, "busy");
  const started = performance.now();
  try {
    const answer = await (await predict(files, "view=true", signal)).json();
    const pixels = await (service.kind === "image" ? imagePixels : volumePixels)(answer.view);
    if (signal.aborted) return;
    shown = { files, answer, ...pixels, name: files.length > 1 ? "series" : name, moved: false };
    show();
    say(`done in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  } catch (error) {
    if (!signal.aborted) say(`${name}: ${error.message}`, "error");
  }
}

async function download(format) {
  const { answer, files, moved, name } = shown;
  try {
    let blob;
    if (format === "seg" || moved) {
      say("making the file", "busy");
      const query = format === "seg" ? "format=seg" : `format=png&threshold=${$("threshold").value}`;
      blob = await (await predict(files, query)).blob();
      say("");
    } else {
      blob = new Blob([bytesOf(answer.mask.base64)]);
    }
    const link = document.createElement("a");
    const ending = format === "seg" ? ".dcm" : answer.mask.file.replace(/^\w+/, "");
    link.href = URL.createObjectURL(blob);
    link.download = `${name.replace(/(\.nii)?\.\w+$/, "")}_mask${ending}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  } catch (error) {
    say(error.message, "error");
  }
}

/* ---- result ---- */

function show() {
  const { answer, name } = shown, isImage = service.kind === "image", { view } = answer;
  $("result").hidden = false;
  $("result-title").textContent = name;
  $("image-controls").hidden = !isImage;
  $("threshold-label").hidden = service.threshold === null;
  $("threshold").value = service.threshold;
  $("threshold-value").textContent = Number(service.threshold).toFixed(2);
  $("download-seg").hidden = !view.is_dicom;
  $("notes").textContent = [isImage ? "" : "The patient's right is on the left.",
    view.step > 1 ? `Shown is one of ${view.step} rows and columns; the download has all.` : ""].join(" ");
  $("columns").replaceChildren(...["class", isImage ? "pixels" : "voxels", isImage ? "share" : "millilitres",
    ...(isImage ? ["max. probability"] : [])].map((text) => cell("th", text, "col")));
  $("pictures").className = isImage ? "" : "cuts";
  $("pictures").replaceChildren(...(isImage ? [imageFigure()] : PLANES.map(cutFigure)));
  draw();
}

function cell(kind, text, scope) {
  const element = document.createElement(kind);
  element.textContent = text;
  if (scope) element.scope = scope;
  return element;
}

function showClasses(pixels) {
  $("classes").replaceChildren(...Object.entries(shown.answer.classes).map(([name, facts]) => {
    const row = document.createElement("tr"), head = cell("th", name, "row"), swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = facts.color;
    head.prepend(swatch);
    const count = pixels ?? facts.pixels ?? facts.voxels;
    const share = facts.volume_ml === undefined
      ? `${((100 * count) / (shown.answer.shape[0] * shown.answer.shape[1])).toFixed(2)} %` : facts.volume_ml.toFixed(1);
    const cells = [count.toLocaleString("en"), share];
    if (facts.max_probability !== undefined) cells.push(facts.max_probability.toFixed(3));
    row.append(head, ...cells.map((text) => cell("td", text)));
    return row;
  }));
}

const layer = () => document.querySelector("[name=layer]:checked").value;
const draw = () => {
  $("opacity-value").textContent = `${Math.round(100 * $("opacity").value)} %`;
  if (service.kind === "image") drawImage();
  else for (const plane of PLANES) drawCut(plane);
};

/* ---- images ---- */

async function imagePixels(view) {
  const load = async (address) => {
    const image = new Image();
    image.src = address;
    await image.decode();
    return image;
  };
  const data = (image) => {
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, image.width, image.height).data;
  };
  const [image, labels, scores] = await Promise.all([view.image, view.labels, view.scores].map(load));
  const numbers = data(labels), values = data(scores), size = image.width * image.height;
  const pixels = { image, hasRegion: false, labels: new Uint8Array(size), probability: new Uint16Array(size), uncertainty: new Uint8Array(size) };
  for (let i = 0; i < size; i++) {
    pixels.labels[i] = numbers[4 * i];
    pixels.probability[i] = 256 * values[4 * i] + values[4 * i + 1];
    pixels.uncertainty[i] = values[4 * i + 2];
    pixels.hasRegion ||= pixels.uncertainty[i] > 127;
  }
  return pixels;
}

function imageFigure() {
  const figure = document.createElement("figure"), canvas = document.createElement("canvas");
  canvas.id = "image";
  canvas.setAttribute("role", "img");
  [canvas.width, canvas.height] = [shown.image.width, shown.image.height];
  canvas.style.width = `min(${Math.max(canvas.width, 640)}px, ${(75 * canvas.width) / canvas.height}vh)`;
  canvas.style.maxHeight = "none";
  figure.append(canvas);
  return figure;
}

function maskNow() {
  if (!shown.moved) return shown.labels;
  const from = Math.ceil($("threshold").value * 65535);
  return shown.probability.map((value) => (value >= from ? 1 : 0));
}

function drawImage() {
  const { image, probability, uncertainty } = shown, { width, height } = image, kind = layer();
  const isBand = kind === "uncertainty" && !shown.hasRegion;
  const mask = maskNow(), alpha = 255 * $("opacity").value, over = new ImageData(width, height);
  if (kind === "mask") {
    tint(over, mask, width, height, alpha, Math.max(1, Math.round(Math.min(width, height) / 250)));
  } else if (kind !== "image") {
    for (let i = 0; i < mask.length; i++) {
      if (isBand && (probability[i] < BAND[0] * 65535 || probability[i] > BAND[1] * 65535)) continue;
      over.data.set(isBand ? YELLOW : HEAT[kind === "uncertainty" ? uncertainty[i] : probability[i] >> 8], 4 * i);
      over.data[4 * i + 3] = alpha;
    }
  }
  paint($("image"), image, over);
  $("scale").hidden = kind === "mask" || kind === "image" || isBand;
  $("band").hidden = !isBand;
  const { step } = shown.answer.view;
  const count = shown.moved ? mask.reduce((sum, value) => sum + value, 0) * step * step : undefined;
  showClasses(count);
  $("image").setAttribute("aria-label", `${shown.name}, shown: ${kind}`);
}

/** Colour class numbers, and their inner rims without transparency, this many pixels wide. */
function tint(over, numbers, width, height, alpha, rim) {
  const colors = [];
  for (const { number, color } of Object.values(shown.answer.classes)) colors[number] = rgb(color);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const number = numbers[i];
      if (!number) continue;
      const isRim = rim && ((x >= rim && numbers[i - rim] !== number) || (x + rim < width && numbers[i + rim] !== number)
        || (y >= rim && numbers[i - rim * width] !== number) || (y + rim < height && numbers[i + rim * width] !== number));
      over.data.set(colors[number], 4 * i);
      over.data[4 * i + 3] = isRim ? 255 : alpha;
    }
  }
}

function paint(canvas, below, over) {
  const context = canvas.getContext("2d"), sheet = new OffscreenCanvas(over.width, over.height);
  sheet.getContext("2d").putImageData(over, 0, 0);
  context.drawImage(below, 0, 0);
  context.drawImage(sheet, 0, 0);
}

/* ---- CT: voxels (D, H, W) lead to head, back and left; the patient's right is on the left of a picture ---- */

async function volumePixels(view) {
  const [grey, labels] = await Promise.all([view.image, view.labels].map(unpacked));
  const [depth, height, width] = view.shape, strides = [height * width, width, 1];
  const counts = view.shape.map((length) => new Uint32Array(length));
  for (let d = 0, i = 0; d < depth; d++) for (let h = 0; h < height; h++) for (let w = 0; w < width; w++, i++) {
    if (labels[i]) { counts[0][d]++; counts[1][h]++; counts[2][w]++; }
  }
  const fullest = (count) => (count.some((n) => n) ? count.indexOf(Math.max(...count)) : count.length >> 1);
  return { grey, labels, strides, index: counts.map(fullest) };
}

function cutFigure(plane) {
  const { shape, spacing_mm } = shown.answer.view, axis = PLANES.indexOf(plane);
  const [rows, columns] = [0, 1, 2].filter((other) => other !== axis);
  const widest = Math.max(...[1, 2].map((i) => shape[i] * spacing_mm[i])), mm = (i) => shape[i] * spacing_mm[i];
  const figure = document.createElement("figure"), canvas = document.createElement("canvas");
  canvas.id = plane;
  canvas.setAttribute("role", "img");
  [canvas.width, canvas.height] = [shape[columns], shape[rows]];
  canvas.style.aspectRatio = mm(columns) / mm(rows);
  canvas.style.width = `${(100 * mm(columns)) / widest}%`; // the same scale in all three
  canvas.addEventListener("pointerdown", (event) => {
    const box = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * shape[rows]);
    shown.index[rows] = axis ? shape[rows] - 1 - row : row;
    shown.index[columns] = Math.floor(((event.clientX - box.left) / box.width) * shape[columns]);
    draw();
  });
  const label = document.createElement("label"), slider = document.createElement("input");
  Object.assign(slider, { type: "range", id: `${plane}-index`, min: 1, max: shape[axis] });
  slider.addEventListener("input", () => {
    shown.index[axis] = slider.value - 1;
    drawCut(plane);
  });
  label.append(cell("span", plane[0].toUpperCase() + plane.slice(1)), slider, cell("output", ""));
  label.htmlFor = slider.id;
  figure.append(canvas, label);
  return figure;
}

function drawCut(plane) {
  const { grey, labels, strides, index, answer } = shown, { shape } = answer.view, axis = PLANES.indexOf(plane);
  const [rows, columns] = [0, 1, 2].filter((other) => other !== axis), canvas = $(plane), { width, height } = canvas;
  const below = new ImageData(width, height), over = new ImageData(width, height), numbers = new Uint8Array(width * height);
  for (let y = 0, i = 0; y < height; y++) {
    const row = axis ? height - 1 - y : y; // head up
    for (let x = 0; x < width; x++, i++) {
      const voxel = index[axis] * strides[axis] + row * strides[rows] + x * strides[columns];
      below.data.fill(grey[voxel], 4 * i, 4 * i + 3);
      below.data[4 * i + 3] = 255;
      numbers[i] = labels[voxel];
    }
  }
  tint(over, numbers, width, height, 255 * $("opacity").value, 0);
  const sheet = new OffscreenCanvas(width, height);
  sheet.getContext("2d").putImageData(below, 0, 0);
  paint(canvas, sheet, over);
  $(`${plane}-index`).value = index[axis] + 1;
  $(`${plane}-index`).nextSibling.textContent = `${index[axis] + 1} of ${shape[axis]}`;
  canvas.setAttribute("aria-label", `${plane} cut ${index[axis] + 1} of ${shape[axis]}`);
  showClasses();
}

/* ---- input ---- */

async function filesOf(entry) {
  if (entry instanceof File) return [entry];
  if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
  const reader = entry.createReader(), files = [];
  for (;;) { // a reader gives some hundred at a time
    const entries = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!entries.length) return files;
    for (const below of entries) files.push(...(await filesOf(below)));
  }
}

function listen() {
  for (const id of ["file", "folder"]) {
    $(id).addEventListener("change", () => {
      const files = [...$(id).files];
      $(id).value = ""; // so that the same file can be given again
      segment(files);
    });
  }
  addEventListener("dragover", (event) => { event.preventDefault(); $("give").classList.add("over"); });
  addEventListener("dragleave", () => $("give").classList.remove("over"));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    $("give").classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry() ?? item.getAsFile()).filter(Boolean);
    segment((await Promise.all(entries.map(filesOf))).flat());
  });
  for (const input of document.querySelectorAll("[name=layer]")) input.addEventListener("change", draw);
  $("opacity").addEventListener("input", () => shown && draw());
  $("threshold").addEventListener("input", () => {
    shown.moved = Number($("threshold").value) !== service.threshold;
    $("threshold-value").textContent = Number($("threshold").value).toFixed(2);
    draw();
  });
  $("download").addEventListener("click", () => download("mask"));
  $("download-seg").addEventListener("click", () => download("seg"));
}

async function start() {
  try {
    service = await (await fetch("health")).json();
  } catch (error) {
    say(`the service does not answer: ${error.message}`, "error");
    return;
  }
  const isImage = service.kind === "image", address = `${new URL("predict", location.href)}`;
  $("model").textContent = service.model;
  $("folder-label").hidden = isImage;
  $("file").multiple = !isImage;
  $("kinds").textContent = isImage ? "An image: PNG, JPEG, TIFF, BMP or WebP."
    : "A CT: NIfTI, the folder or slices of a DICOM series, or a zip of one.";
  const file = isImage ? "frame.png" : "scan.nii.gz", [format, out] = isImage ? ["png", "mask.png"] : ["nifti", "mask.nii.gz"];
  $("commands").textContent = `curl -F file=@${file} ${address}\ncurl -F file=@${file} -o ${out} '${address}?format=${format}'`;
  listen();
}

start();
