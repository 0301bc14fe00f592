// The clip's films side by side: one frame number for all of them, every pane drawn in the same tick.

const clip = () => data.clips[state.clip];
const filmOf = (name) => clip().films[name];
const frameCount = () => Math.max(1, ...Object.values(clip() ? clip().films : {}).map((film) => film.frames.length));

// Frames of the clip that is watched, decoded once; another clip's are let go.
let reels = new Map();
let reelsOf = -1;
const reel = (name) => {
  if (reelsOf !== state.clip) [reels, reelsOf] = [new Map(), state.clip];
  if (!reels.has(name)) {
    const entry = { images: filmOf(name).frames.map(pictureOf), ready: false };
    Promise.all(entry.images.map((image) => image.decode())).then(() => {
      entry.ready = true;
      if (reels.get(name) === entry) paintAll();
    });
    reels.set(name, entry);
  }
  return reels.get(name);
};
const pictureOf = (source) => Object.assign(new Image(), { src: source });

let screens = [];  // {name, canvas, reading}: all that is on the stage now
const screenFor = (name, reading = null) => {
  const film = filmOf(name);
  const canvas = make("canvas", {
    width: film.width, height: film.height, role: "img", "data-film": name, class: name === "input" ? "coarse" : "",
    "aria-label": `${labelOf(name)}, ${clip().name}`,
  });
  screens.push({ name, canvas, reading });
  return canvas;
};
const resultOf = (name) => clip().results.find((result) => result.slug === name);
const readingOf = (name) => {
  const result = resultOf(name);
  const values = result && result.frames[state.reading];
  if (!values) return "";
  const value = values[Math.min(state.frame, values.length - 1)];
  const all = clip().results.flatMap((other) => other.frames[state.reading] || []);
  return isNumber(value) ? written(value, decimalsOf(all)) : "–";
};

const paintAll = () => {
  const loaded = screens.map(({ name }) => reel(name));
  if (!loaded.every(({ ready }) => ready)) return;  // all panes or none, so that they never part
  for (const [i, { name, canvas, reading }] of screens.entries()) {
    const j = Math.min(state.frame, loaded[i].images.length - 1);
    canvas.getContext("2d").drawImage(loaded[i].images[j], 0, 0);
    canvas.dataset.frame = j;
    if (reading) reading.textContent = readingOf(name);
  }
};

const filmNames = () => ["truth", "input", ...ways.map((way) => way.slug)].filter((name) => clip() && filmOf(name));

const buildPanes = () => {
  screens = [];
  const names = filmNames().filter((name) => state.shown.includes(name));
  byId("panes").replaceChildren();
  byId("compare").replaceChildren();
  byId("panes").hidden = state.view !== "panes";
  byId("compare").hidden = state.view !== "slider";
  if (state.view === "slider") return buildSlider();
  byId("panes").replaceChildren(...names.map((name) => {
    const way = wayOf(name);
    const reading = make("span", { class: "reading" });
    return make("figure", { class: "pane" }, screenFor(name, reading),
      make("figcaption", {}, way ? nameOfWay(way) : make("b", {}, labelOf(name)), reading));
  }));
  if (!names.length) byId("panes").append(make("p", { class: "note" },
    filmNames().length ? "Nothing is chosen: choose below." : "This clip has no films in this page."));
  paintAll();
};

const buildChoices = () => {
  byId("choices").replaceChildren(...filmNames().map((name) => make("label", { class: "chip" },
    make("input", {
      type: "checkbox", value: name, checked: state.shown.includes(name),
      onchange: (event) => change({
        shown: event.target.checked ? [...state.shown, name] : state.shown.filter((other) => other !== name),
      }),
    }),
    make("span", {}, labelOf(name)))));
};

const ICONS = { play: "M7 5v14l12-7z", pause: "M7 5h4v14H7zM13 5h4v14h-4z", back: "M7 5h2.5v14H7zM19 5v14L10 12z",
  forth: "M14.5 5H17v14h-2.5zM5 5v14l9-7z" };
const icon = (name) => draw("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, draw("path", { d: ICONS[name] }));

const step = (by) => change({ frame: (state.frame + by + frameCount()) % frameCount(), playing: false });

// Playing counts time, not ticks: a slow machine skips frames in all panes alike.
let begun = null;
const tick = (now) => {
  if (!state.playing) return;
  if (begun === null) begun = { now, frame: state.frame, rate: state.rate };
  const frame = (begun.frame + Math.floor(((now - begun.now) * begun.rate) / 1000)) % frameCount();
  if (frame !== state.frame) change({ frame });
  requestAnimationFrame(tick);
};

const showTransport = () => {
  const last = frameCount() - 1;
  byId("scrub").max = last;
  byId("scrub").value = state.frame;
  byId("counter").textContent = `${String(state.frame + 1).padStart(String(last + 1).length, "\u2007")} / ${last + 1}`;
};

const startPlayer = () => {
  if (!data.clips.length) {
    byId("stage").replaceChildren(make("p", { class: "note" }, "No clip has been restored yet."));
    return;
  }
  byId("back").append(icon("back"));
  byId("forth").append(icon("forth"));
  byId("back").addEventListener("click", () => step(-1));
  byId("forth").addEventListener("click", () => step(1));
  byId("play").addEventListener("click", () => change({ playing: !state.playing }));
  byId("scrub").addEventListener("input", (event) => change({ frame: Number(event.target.value), playing: false }));
  byId("clip").addEventListener("change", (event) => change({ clip: Number(event.target.value), frame: 0 }));
  byId("rate").addEventListener("change", (event) => change({ rate: Number(event.target.value) }));
  byId("reading").addEventListener("change", (event) => change({ reading: event.target.value }));
  byId("pixels").addEventListener("change", (event) => change({ pixels: event.target.checked }));
  byId("view-panes").addEventListener("click", () => change({ view: "panes" }));
  byId("view-slider").addEventListener("click", () => change({ view: "slider" }));
  choice(byId("clip"), data.clips.map((each, i) => [i, each.name]), state.clip);
  choice(byId("rate"), [2, 4, 8, 12, 24].map((rate) => [rate, `${rate} fps`]), state.rate);
  const read = measures.filter((measure) => data.clips.some((each) => each.results.some((r) => r.frames[measure.name])));
  choice(byId("reading"), read.map((measure) => [measure.name, measure.title]), state.reading);

  watch(["playing"], () => {
    begun = null;
    byId("play").replaceChildren(icon(state.playing ? "pause" : "play"));
    byId("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
    if (state.playing) requestAnimationFrame(tick);
  });
  watch(["rate", "clip"], () => (begun = null));
  watch(["clip"], () => {
    byId("clip").value = state.clip;
    byId("caption").textContent = clip().caption;
    buildChoices();
  });
  watch(["shown"], buildChoices);
  watch(["clip", "view", "shown", "left", "right"], buildPanes);
  watch(["clip", "frame"], showTransport);
  watch(["frame", "reading"], paintAll);
  watch(["pixels"], () => byId("stage").classList.toggle("pixels", state.pixels));
  watch(["view"], () => {
    byId("view-panes").setAttribute("aria-pressed", state.view === "panes");
    byId("view-slider").setAttribute("aria-pressed", state.view === "slider");
  });
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea, button, summary, a")) return;
    const act = {
      " ": () => change({ playing: !state.playing }), ArrowLeft: () => step(-1), ArrowRight: () => step(1),
      Home: () => change({ frame: 0, playing: false }), End: () => change({ frame: frameCount() - 1, playing: false }),
    }[event.key];
    if (act) event.preventDefault(), act();
  });
};

/** Shows a clip, and beside the original and the input the ways named. */
const watchClip = (index, names) => {
  change({ clip: index, frame: 0, view: "panes", shown: ["truth", "input", ...names] });
  byId("watch").scrollIntoView();
};
