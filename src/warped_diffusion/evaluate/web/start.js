// Puts the parts together and shows the page as it begins.

const beginning = () => {
  const has = (name) => data.clips.some((each) => each.films[name]);
  const find = (test) => (ways.find((way) => has(way.slug) && test(way)) || {}).slug;
  const telling = [
    find((way) => way.noise === "resample" && way.guidance === "none"),
    find((way) => way.noise === "gp" && way.guidance === "none"),
    find((way) => way.noise === "gp" && way.guidance === "denoised") || find((way) => way.noise === "gp" && way.guidance !== "none"),
    find((way) => way.model === "real-esrgan") || find((way) => way.peer && !isReference(way)),
  ];
  const shown = ["truth", "input", ...new Set(telling.filter(Boolean))];
  for (const way of ways) if (shown.length < 4 && has(way.slug) && !isReference(way) && !shown.includes(way.slug)) shown.push(way.slug);
  const perFrame = measures.find(({ name }) => name === "warping-pixel-previous" && hasCurve(name)) || measures.find(isCurve);
  return { shown, right: telling[2] || shown[shown.length - 1], reading: perFrame ? perFrame.name : "" };
};

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
byId("summary").textContent = [
  plural(data.clips.length, "clip"), plural(ways.length, "way"), `${frameCount()} frames`,
  plural(Math.max(1, ...data.clips.flatMap((each) => each.results.map((result) => result.seeds))), "seed"),
].join(" · ");
if (data.machine) data.notes.push(`Times were taken on ${data.machine}.`);
byId("notes").replaceChildren(...data.notes.map((note) => make("li", {}, note)));
byId("settings").replaceChildren(...data.settings.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
byId("settings-section").hidden = !data.settings.length;

Object.assign(state, beginning());
startPlayer();
startCurves();
startTables();
startClips();
change({ ...state });
