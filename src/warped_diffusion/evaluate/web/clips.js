// One clip at a time: what it is, and every way's figures on it; built when it is opened.

const clipTable = (each, index) => {
  const rows = ways.filter((way) => each.results.some((result) => result.slug === way.slug))
    .map((way) => ({ key: way.slug, way, result: each.results.find((result) => result.slug === way.slug) }));
  const columns = measures.filter(({ name }) => rows.some(({ result }) => isNumber(result.means[name])))
    .map((measure) => numbers(measure, rows, (row) => ({ value: row.result.means[measure.name] }),
      { why: (row) => row.result.missing[measure.name] }));
  if (rows.some(({ result }) => isNumber(result.seconds)))
    columns.push(numbers(measureNamed("seconds-per-frame"), rows, (row) => ({ value: row.result.seconds })));
  const act = each.films.truth || each.films.input ? (way) => watchClip(index, [way.slug]) : null;
  return sortable([wayColumn(act), ...columns], rows, { label: `Ways on ${each.name}` });
};

const clipBody = (each, index) => {
  const seeds = Math.max(0, ...each.results.map((result) => result.seeds));
  const facts = [each.flow && `Flow: ${each.flow}.`, `Mean over frames${seeds > 1 ? ` and ${seeds} seeds` : ""}.`];
  const failures = data.failed.filter((failure) => failure.clip === each.name);
  const missing = new Map(each.results.flatMap((result) => Object.entries(result.missing))
    .filter(([name, why]) => data.missing[name] !== why));
  return [
    each.caption ? make("p", { class: "caption" }, each.caption) : null,
    make("p", { class: "hint" }, facts.filter(Boolean).join(" ")),
    make("div", { class: "bar" },
      Object.keys(each.films).length ? make("button", { type: "button", class: "action", onclick: () => {
        change({ clip: index, frame: 0 });
        byId("watch").scrollIntoView();
      } }, "Watch this clip") : null,
      make("button", { type: "button", class: "action", onclick: () => {
        change({ curveClip: index });
        byId("curves").scrollIntoView();
      } }, "Its curves")),
    each.results.length ? clipTable(each, index) : make("p", { class: "note" }, "Nothing has been restored."),
    missing.size ? listOfMissing([...missing]) : null,
    failures.map((failure) => make("p", { class: "note" }, `${failureText(failure)}: ${failure.error}`)),
  ];
};

/** The first frame of the original. */
const thumbnail = (each) => {
  const film = each.films.truth || each.films.input;
  return film ? make("img", { class: "thumbnail", src: film.frames[0], alt: "", loading: "lazy" }) : make("span", { class: "thumbnail" });
};

const startClips = () => {
  byId("clip-list").replaceChildren(...data.clips.map((each, index) => {
    const body = make("div", { class: "clip-body" });
    const open = (event) => {
      if (event.target.open && !body.childNodes.length) fill(body, {}, clipBody(each, index));
    };
    return make("details", { class: "clip", ontoggle: open },
      make("summary", {}, thumbnail(each), make("span", { class: "clip-name" }, make("b", {}, each.name),
        each.caption ? make("small", {}, each.caption) : null)), body);
  }));
};
