// Tables whose headings sort: all ways, one clip's ways, and ours beside the paper's.

/** Rows in order of `column`; what has no value stands last either way. */
const sorted = (rows, column, direction) => [...rows].sort((a, b) => {
  const [left, right] = [column.sort(a), column.sort(b)];
  const [none, other] = [left === null || left === undefined, right === null || right === undefined];
  if (none || other) return none - other;
  const order = typeof left === "string" ? left.localeCompare(right) : left - right;
  return direction === "descending" ? -order : order;
});

const headingOf = (column, sort) => make("th", { scope: "col", class: column.number ? "number" : "", "data-column": column.name },
  make("button", { type: "button", onclick: sort, title: column.hint || "Sort" },
    column.title, column.arrow ? make("span", { class: "arrow", title: column.hint }, `\u00a0${column.arrow}`) : null,
    column.unit && column.unit.length < 9 ? make("small", {}, column.unit) : null));

/** A table of `rows`; a column has name, title, sort(row), cell(row) and, where smaller is better, first "ascending". */
const sortable = (columns, rows, { label, rowClass = () => "" }) => {
  const body = make("tbody");
  const headings = columns.map((column) => headingOf(column, () => sortBy(column)));
  let order = { column: null, direction: "" };
  const show = (list) => body.replaceChildren(...list.map((row) => make("tr", { class: rowClass(row), "data-row": row.key },
    columns.map((column, i) => fill(column.cell(row), i === 0 ? { scope: "row" } : {}, [])))));
  const sortBy = (column) => {
    const turned = order.direction === "ascending" ? "descending" : "ascending";
    order = { column, direction: order.column === column ? turned : column.first || "ascending" };
    headings.forEach((heading, i) => (columns[i] === column
      ? heading.setAttribute("aria-sort", order.direction) : heading.removeAttribute("aria-sort")));
    show(sorted(rows, column, order.direction));
  };
  show(rows);
  const table = make("table", {}, make("thead", {}, make("tr", {}, headings)), body);
  return make("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": label }, table);
};

/** Of a list of numbers the best; null where better is no question, or where there is only one to choose from. */
const bestOf = (values, better) => {
  const held = values.filter(isNumber);
  if (held.length < 2 || better === "none") return null;
  return better === "higher" ? Math.max(...held) : Math.min(...held);
};

const ownGroup = (row) => (row.way && isReference(row.way) ? "reference" : "ours");

/** A column of numbers with errors: `get(row)` gives {value, error}; `group(row)` tells whose best is whose. */
const numbers = (measure, rows, get, { group = ownGroup, why = () => "", least = 0 } = {}) => {
  const held = rows.map(get).filter((each) => each && isNumber(each.value));
  const decimals = Math.max(least, decimalsWith(held.map(({ value }) => value), held.map(({ error }) => error)));
  const errors = held.map(({ error }) => error).filter(isNumber).map((error) => written(error, decimals));
  const room = Math.max(0, ...errors.map((text) => text.length)) + 2;
  const bests = new Map([...new Set(rows.map(group))].map((key) => [key,
    bestOf(rows.filter((row) => group(row) === key).map((row) => (get(row) || {}).value), measure.better)]));
  const cell = (row) => {
    const { value, error } = get(row) || {};
    if (!isNumber(value)) return make("td", { class: "number none", title: why(row) || "not measured" }, "–");
    const best = bests.get(group(row));
    // Equal in print is equal: a difference below the last digit shown is no win.
    const isBest = best !== null && written(value, decimals) === written(best, decimals);
    const number = make("span", { class: "value" }, written(value, decimals));
    const spread = make("span", { class: "error" }, isNumber(error) ? `± ${written(error, decimals)}` : "");
    spread.style.setProperty("--room", `${errors.length ? room : 0}ch`);
    return make("td", { class: `number ${isBest ? "best" : ""}` }, number, spread,
      isBest ? make("span", { class: "unseen" }, " (best)") : null);
  };
  return {
    name: measure.name, title: measure.title, unit: measure.unit, number: true, cell,
    arrow: ARROWS[measure.better], hint: ["Sort", measure.unit, WORDS[measure.better]].filter(Boolean).join("; "),
    first: measure.better === "higher" ? "descending" : "ascending",
    sort: (row) => (isNumber((get(row) || {}).value) ? get(row).value : null),
  };
};
const wayColumn = (act = null) => ({
  name: "way", title: "Way", sort: (row) => labelOf(row.key),
  cell: (row) => make("th", {}, act ? make("button", { type: "button", class: "plain", title: "Watch this way",
    onclick: () => act(row.way) }, nameOfWay(row.way)) : nameOfWay(row.way)),
});

const rowNamed = new Map(data.rows.map((row) => [`${row.slug} ${row.measure}`, row]));
const overall = (slug, name) => rowNamed.get(`${slug} ${name}`);

const buildTable = () => {
  const rows = visibleWays().map((way) => ({ key: way.slug, way }));
  const measured = new Set(data.rows.map((row) => row.measure));
  const extra = [...measured].filter((name) => !measures.some((measure) => measure.name === name)).map(measureNamed);
  const columns = [...measures, ...extra].filter(({ name }) => measured.has(name))
    .map((measure) => numbers(measure, rows, (row) => overall(row.key, measure.name)));
  byId("table").replaceChildren(rows.length && columns.length ? sortable([wayColumn(), ...columns], rows, { label: "All ways" })
    : make("p", { class: "note" }, rows.length ? "Nothing has been measured yet." : "All ways are hidden: choose some above."));
};

const listOfMissing = (entries) => make("dl", { class: "missing" },
  entries.map(([name, why]) => [make("dt", {}, measureNamed(name).title), make("dd", {}, String(why))]));
const failureText = ({ clip, slug, seed }) =>
  [clip, slug && labelOf(slug), isNumber(seed) && `seed ${seed}`].filter(Boolean).join(", ");
const buildNotes = () => {
  const missing = Object.entries(data.missing);
  byId("missing").replaceChildren(...(missing.length ? [make("h3", {}, "Not measured here"), listOfMissing(missing)] : []));
  byId("failed").replaceChildren(...(data.failed.length ? [make("h3", {}, "Failed"), make("ul", { class: "failures" },
    data.failed.map((each) => make("li", {}, make("b", {}, `${failureText(each)}: `), each.error)))] : []));
};

// Tables 2 and 3 do not say whether their warping error is of pixels or of latents: ours stand beside it, each by name.
const BESIDE = new Map([["warping-first", ["warping-first", "warping-pixel-first", "warping-latent-first"]]]);

/** Our rows, each after the paper's row of the same noise, spectrum and guidance; the others last. */
const interleaved = (theirs, ours) => {
  const left = new Set(ours);
  const rows = theirs.flatMap((row) => {
    const beside = [...left].filter(({ way }) => way.noise === row.noise && way.spectrum === row.spectrum &&
      (way.guidance === "none") === (row.guidance === "none"));
    beside.forEach((own) => left.delete(own));
    return [row, ...beside];
  });
  return [...rows, ...left];
};

/** One of the paper's tables with our rows among its own, which are tinted and say whose they are. */
const publishedTable = (table) => {
  const theirs = table.rows.map((row, i) => ({ ...row, key: `paper-${i}`, paper: true }));
  const names = [...new Set(theirs.flatMap((row) => Object.keys(row.values)).flatMap((name) => BESIDE.get(name) || [name]))]
    .filter((name) => theirs.some((row) => name in row.values) || ways.some((way) => overall(way.slug, name)));
  const ours = visibleWays().map((way) => ({ key: way.slug, way }))
    .filter((row) => names.some((name) => overall(row.key, name)));
  const rows = interleaved(theirs, ours);
  const get = (name) => (row) => (row.paper ? { value: row.values[name], error: (row.errors || {})[name] } : overall(row.key, name));
  const first = {
    name: "way", title: "Way", sort: (row) => row.method || labelOf(row.key),
    cell: (row) => make("th", {}, row.paper
      ? make("span", { class: "way" }, make("span", { class: "tag" }, "paper"), make("span", {}, row.method)) : nameOfWay(row.way)),
  };
  const columns = names.map(measureNamed).map((measure) => numbers({ ...measure, better: betterOf(measure) }, rows, get(measure.name), {
    least: 3,  // as it prints them
    group: (row) => (row.paper ? "paper" : ownGroup(row)), why: (row) => (row.paper ? "not published" : data.missing[measure.name]) }));
  const title = `Table ${table.number}. ${table.caption}`;
  return [make("h3", {}, title), table.about ? make("p", { class: "hint" }, table.about) : null,
    sortable([first, ...columns], rows, { label: title, rowClass: (row) => (row.paper ? "paper" : "ours") })];
};
const betterOf = ({ name, better }) => (name === "warping-first" ? "lower" : better);

const buildPublished = () => {
  const tables = data.published.map(publishedTable);
  byId("published-section").hidden = !tables.length;
  byId("published-link").hidden = !tables.length;
  byId("source").textContent = `${data.source}. Its rows are tinted. Other networks, other clips: orders can be compared, values cannot.`;
  byId("published").replaceChildren(...tables.flat().filter(Boolean));
};

const startTables = () => {
  watch(["hidden"], buildTable);
  watch(["hidden"], buildPublished);
  buildNotes();
};
