// What every part of the page uses: the data, elements, numbers, the names of ways and measures, the shared state.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

const fill = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  // Strings become text nodes, never markup: names of clips and captions come from anywhere.
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
};
const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// One state, whose watchers hear which of its names changed.
const state = {
  clip: 0, frame: 0, playing: false, rate: 8, view: "panes", shown: [], left: "input", right: "truth", reading: "",
  pixels: false, curveClip: -1, logarithmic: false, hidden: new Set(),
};
const watchers = [];
const watch = (names, react) => watchers.push({ names, react });
const change = (patch) => {
  Object.assign(state, patch);
  for (const { names, react } of watchers) if (names.some((name) => name in patch)) react();
};

// ---- numbers

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Decimals at which a column of numbers is told apart: three digits of the largest, one more where they differ much. */
const decimalsOf = (values) => {
  const sizes = values.filter((value) => isNumber(value) && value !== 0).map(Math.abs);
  if (!sizes.length) return 0;
  const largest = Math.max(...sizes);
  const digits = (largest >= 10 ? 4 : 3) + (Math.min(...sizes) < largest / 10 ? 1 : 0);
  return Math.min(6, Math.max(0, digits - 1 - Math.floor(Math.log10(largest))));
};
/** As many, where values have errors, but none below the second digit of the smallest error. */
const decimalsWith = (values, errors) => {
  const smallest = Math.min(...errors.filter((error) => isNumber(error) && error > 0));
  const told = smallest < Infinity ? Math.max(0, 1 - Math.floor(Math.log10(smallest))) : 6;
  return Math.min(decimalsOf(values), told);
};
const written = (value, decimals) => value.toFixed(decimals).replace("-", "−");

// ---- measures and ways

const TITLES = new Map([
  ["mse", "MSE"], ["psnr", "PSNR"], ["ssim", "SSIM"], ["lpips", "LPIPS"], ["fid", "FID"],
  ["clip-text", "CLIP text"], ["clip-image", "CLIP image"], ["inception-score", "Inception"],
  ["warping-pixel-first", "Warping, pixels, to first"], ["warping-pixel-previous", "Warping, pixels, to previous"],
  ["warping-latent-first", "Warping, latents, to first"], ["warping-latent-previous", "Warping, latents, to previous"],
  ["warping-first", "Warping, to first"], ["seconds-per-frame", "Time per frame"],
]);
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1).replaceAll("-", " ");

const withTitle = ({ name, unit, better }) => ({
  name, better, title: TITLES.get(name) || sentence(name), unit: unit === "1" ? "" : unit,
});
const measures = data.measures.map(withTitle);
const measureNamed = (name) =>
  measures.find((measure) => measure.name === name) || withTitle({ name, unit: "", better: "none" });
const ARROWS = { higher: "↑", lower: "↓" };
const WORDS = { higher: "higher is better", lower: "lower is better" };

const HUES = ["fixed", "resample", "nearest", "bilinear", "integral", "gp"];
const NAMES = new Map([
  ["gp", "GP"], ["real-esrgan", "Real-ESRGAN"], ["squared-exponential", "squared exp."], ["none", "unguided"],
]);
const named = (word) => NAMES.get(word) || word;
const isPeer = (way) => !way.noise || way.noise === "-";
const isReference = (way) => way.model === "original";  // the true clip, handed back: measured, but nobody's rival
const FACETS = ["model", "noise", "spectrum", "guidance", "steps"];
const rest = [...new Set(data.ways.map((way) => (isPeer(way) ? way.model : way.noise)))].filter(
  (key) => !HUES.includes(key),
);
const models = new Set(data.ways.filter((way) => !isPeer(way)).map((way) => way.model));

const GUIDANCE = ["none", "network", "denoised"];
const place = (list, item) => (list.includes(item) ? list.indexOf(item) : list.length);
const inOrder = (a, b) => a.peer - b.peer || a.model.localeCompare(b.model) || place(HUES, a.noise) - place(HUES, b.noise) ||
  (a.spectrum || "").localeCompare(b.spectrum || "") || place(GUIDANCE, a.guidance) - place(GUIDANCE, b.guidance) ||
  (a.steps || 0) - (b.steps || 0);
const ways = data.ways.map((way) => {
  const peer = isPeer(way);
  const key = peer ? way.model : way.noise;
  const hue = HUES.includes(key) ? HUES.indexOf(key) : HUES.length + (rest.indexOf(key) % 4);
  const details = peer
    ? []
    : [way.spectrum && named(way.spectrum), way.guidance && (way.guidance === "none" ? "unguided" : `${way.guidance} guidance`), way.steps && `${way.steps} steps`,
      models.size > 1 && way.model.split("/").pop()];
  return {
    ...way, model: way.model || way.slug, peer, hue,
    title: isReference(way) ? "The original itself" : NAMES.get(key) || sentence(key || way.slug),
    details: details.filter(Boolean).join(" · "),
    dash: peer ? "1 3" : { none: "3 3", network: "8 4" }[way.guidance] || "",
  };
}).sort(inOrder);
const wayOf = (slug) => ways.find((way) => way.slug === slug);
const labelOf = (name) => {
  if (name === "truth") return "Original";
  if (name === "input") return "Input";
  const way = wayOf(name);
  return way ? way.title + (way.details ? ` · ${way.details}` : "") : name;
};
const swatch = (way) =>
  draw("svg", { class: `swatch hue-${way.hue}`, viewBox: "0 0 22 8", "aria-hidden": "true" },
    draw("line", { x1: 1, x2: 21, y1: 4, y2: 4, "stroke-dasharray": way.dash }));
const nameOfWay = (way) =>
  make("span", { class: "way" }, swatch(way), make("span", { class: "way-text" }, make("b", {}, way.title),
    way.details ? make("small", {}, way.details) : null));
const visibleWays = () =>
  ways.filter((way) => !FACETS.some((facet) => state.hidden.has(`${facet} ${way.peer && facet !== "model" ? "" : way[facet]}`)));

const choice = (select, options, value) => {
  select.replaceChildren(...options.map(([key, text]) => make("option", { value: key }, text)));
  select.value = value;
};
