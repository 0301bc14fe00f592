// Measures against the frame, one line per way, drawn as SVG; the ways that are drawn are chosen by facet.

const WARPING = ["warping-latent-first", "warping-pixel-first", "warping-latent-previous", "warping-pixel-previous"];

/** A way's values per frame: as the report has them over all clips, or of the clip that is chosen. */
const curveOf = (way, name) => {
  if (state.curveClip < 0) return (data.curves[name] || {})[way.slug] || [];
  const result = data.clips[state.curveClip].results.find(({ slug }) => slug === way.slug);
  return (result && result.frames[name]) || [];
};
const hasCurve = (name) => Object.values(data.curves[name] || {}).some((values) => values.filter(isNumber).length > 1);
const isCurve = ({ name }) => hasCurve(name);

/** About `count` round numbers from `low` to `high`; powers of ten where the axis is logarithmic. */
const ticks = (low, high, logarithmic, count = 4) => {
  if (logarithmic) {
    const powers = [];
    for (let power = Math.ceil(low); power <= high + 1e-9; power += Math.max(1, Math.round((high - low) / count))) powers.push(power);
    return powers.length > 1 ? powers : [low, high];
  }
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const pace = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const found = [];
  for (let at = Math.ceil(low / pace) * pace; at <= high + pace * 1e-6; at += pace) found.push(at);
  return found;
};
const axisText = (value) => (Math.abs(value) >= 1e-4 || value === 0 ? String(Number(value.toPrecision(2))) : value.toExponential(0))
  .replaceAll("-", "−");

const rangeOf = (lines, toAxis) => {
  const values = lines.flatMap(({ values: own }) => own.filter(isNumber).map(toAxis)).filter(Number.isFinite);
  if (!values.length) return null;
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (!state.logarithmic && low >= 0 && low < high * 0.6) low = 0;  // what is near nothing is seen to be near nothing
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  return [low, high];
};
const pathOf = (values, x, y) => {
  let pen = "M";
  return values.map((value, j) => {
    const at = isNumber(value) ? y(value) : NaN;
    if (!Number.isFinite(at)) return (pen = "M"), "";
    const point = `${pen}${x(j).toFixed(1)} ${at.toFixed(1)}`;
    pen = "L";
    return point;
  }).join("");
};

const chart = (measure, lines, width) => {
  const [height, left, right, top, bottom] = [220, 46, 10, 8, 24];
  const frames = Math.max(2, ...lines.map(({ values }) => values.length));
  const toAxis = state.logarithmic ? Math.log10 : (value) => value;
  const range = rangeOf(lines, toAxis);
  const heading = make("figcaption", {}, make("b", {}, measure.title), measure.unit ? make("small", {}, measure.unit) : null,
    WORDS[measure.better] ? make("small", {}, WORDS[measure.better]) : null);
  if (!range) return make("figure", { class: "chart" }, heading, make("p", { class: "note" }, "No values here."));
  const x = (j) => left + (j / (frames - 1)) * (width - left - right);
  const y = (value) => top + (1 - (toAxis(value) - range[0]) / (range[1] - range[0])) * (height - top - bottom);
  const levels = ticks(range[0], range[1], state.logarithmic).map((at) => (state.logarithmic ? 10 ** at : at));
  const across = ticks(1, frames, false, width < 420 ? 4 : 8).filter(Number.isInteger);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "data-measure": measure.name,
    "aria-label": `${measure.title} against frame, ${lines.length} lines` },
    levels.map((at) => draw("g", { class: "grid" }, draw("line", { x1: left, x2: width - right, y1: y(at), y2: y(at) }),
      draw("text", { x: left - 6, y: y(at) + 3.5, "text-anchor": "end" }, axisText(at)))),
    across.map((at) => draw("text", { class: "axis", x: x(at - 1), y: height - 6, "text-anchor": "middle" }, String(at))),
    draw("line", { class: "now", y1: top, y2: height - bottom }),
    lines.map(({ way, values }) => draw("path", { class: `line hue-${way.hue}`, d: pathOf(values, x, y),
      "stroke-dasharray": way.dash, "data-slug": way.slug }, draw("title", {}, labelOf(way.slug)))));
  const now = svg.querySelector(".now");
  const follow = () => ["x1", "x2"].forEach((name) => now.setAttribute(name, x(Math.min(state.frame, frames - 1))));
  follow();
  const told = make("p", { class: "told", "aria-hidden": "true" });
  svg.addEventListener("pointermove", (event) => tell(event, svg, { lines, x, y, frames, width, height, told, measure }));
  svg.addEventListener("pointerleave", () => { told.textContent = ""; point(""); });
  return Object.assign(make("figure", { class: "chart" }, heading, svg, told), { follow });
};

/** Says under a chart which line and which value lie nearest to the pointer. */
const tell = (event, svg, { lines, x, y, frames, width, height, told }) => {
  const box = svg.getBoundingClientRect();
  const at = [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  const j = Math.min(frames - 1, Math.max(0, Math.round(((at[0] - x(0)) / (x(frames - 1) - x(0))) * (frames - 1))));
  const near = lines.filter(({ values }) => isNumber(values[j]))
    .map((line) => ({ ...line, distance: Math.abs(y(line.values[j]) - at[1]) })).sort((a, b) => a.distance - b.distance)[0];
  if (!near) return;
  told.textContent = `${labelOf(near.way.slug)}: ${Number(near.values[j].toPrecision(3))} at frame ${j + 1}`;
  point(near.way.slug);
};

/** Brings one way's lines to the front of all charts, "" none's. */
const point = (slug) => {
  byId("charts").classList.toggle("pointing", slug !== "");
  for (const line of byId("charts").querySelectorAll(".line")) line.classList.toggle("pointed", line.dataset.slug === slug);
  for (const item of byId("legend").children) item.classList.toggle("pointed", item.dataset.slug === slug);
};

let followers = [];
const curveSet = () => {
  const chosen = byId("curve-set").value;
  const drawn = measures.filter(isCurve);
  return chosen === "warping" ? WARPING.filter(hasCurve).map(measureNamed) : drawn.filter(({ name }) => name === chosen);
};
const buildCurves = () => {
  const shown = visibleWays();
  const place = byId("charts");
  const style = getComputedStyle(place);
  const across = style.gridTemplateColumns.split(" ").length;
  const width = Math.max(240, Math.floor((place.clientWidth - (across - 1) * 28) / across));
  const charts = curveSet().map((measure) => chart(measure,
    shown.map((way) => ({ way, values: curveOf(way, measure.name) })).filter(({ values }) => values.some(isNumber)), width));
  followers = charts.map(({ follow }) => follow).filter(Boolean);
  place.replaceChildren(...charts);
  if (!charts.length) place.append(make("p", { class: "note" }, "No measure has values per frame here."));
  byId("legend").replaceChildren(...shown.map((way) => make("li", { "data-slug": way.slug,
    onpointerenter: () => point(way.slug), onpointerleave: () => point("") }, nameOfWay(way))));
};

const FACET_WORDS = { model: "Model", noise: "Noise", spectrum: "Spectrum", guidance: "Guidance", steps: "Steps" };
const buildFilters = () => {
  const groups = FACETS.map((facet) => {
    const values = [...new Set(ways.filter((way) => facet === "model" || !way.peer).map((way) => way[facet]))].filter(Boolean);
    if (values.length < 2) return null;
    return make("fieldset", {}, make("legend", {}, FACET_WORDS[facet]), ...values.map((value) => make("label", { class: "chip" },
      make("input", { type: "checkbox", value, checked: true, onchange: (event) => {
        const hidden = new Set(state.hidden);
        event.target.checked ? hidden.delete(`${facet} ${value}`) : hidden.add(`${facet} ${value}`);
        change({ hidden });
      } }), make("span", {}, facet === "model" ? String(value).split("/").pop() : named(value)))));
  });
  byId("filters").replaceChildren(...groups.filter(Boolean));
};

const startCurves = () => {
  const curves = measures.filter(isCurve);
  const sets = WARPING.some(hasCurve) ? [["warping", "All warping errors"]] : [];
  choice(byId("curve-set"), [...sets, ...curves.map(({ name, title }) => [name, title])], sets.length ? "warping" : (curves[0] || {}).name);
  choice(byId("curve-clip"), [[-1, "All clips, mean"], ...data.clips.map((each, i) => [i, each.name])], -1);
  byId("curve-clip").addEventListener("change", (event) => change({ curveClip: Number(event.target.value) }));
  byId("curve-set").addEventListener("change", () => buildCurves());
  byId("logarithmic").addEventListener("change", (event) => change({ logarithmic: event.target.checked }));
  buildFilters();
  watch(["hidden", "curveClip", "logarithmic"], buildCurves);
  watch(["curveClip"], () => (byId("curve-clip").value = state.curveClip));
  watch(["frame"], () => followers.forEach((follow) => follow()));
  let width = 0;
  new ResizeObserver(([{ contentRect }]) => {
    if (Math.abs(contentRect.width - width) > 4) width = contentRect.width, buildCurves();
  }).observe(byId("charts"));
};
