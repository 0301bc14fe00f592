// Two films over one another with a divider between them, drawn in the same tick as everything else.

let divider = 50;

const buildSlider = () => {
  const names = filmNames();
  const left = names.includes(state.left) ? state.left : names[0];
  const right = names.includes(state.right) ? state.right : names[names.length - 1];
  if (!names.length) {
    byId("compare").replaceChildren(make("p", { class: "note" }, "This clip has no films in this page."));
    return;
  }
  const box = make("div", { class: "compare-box" },
    fill(screenFor(right), { class: `under ${right === "input" ? "coarse" : ""}` }, []),
    fill(screenFor(left), { class: `over ${left === "input" ? "coarse" : ""}` }, []),
    make("span", { class: "divider", "aria-hidden": "true" }));
  const range = make("input", {
    type: "range", id: "divider", min: 0, max: 100, step: 0.5, value: divider, "aria-label": "Divider between the two films",
    oninput: (event) => place(Number(event.target.value)),
  });
  const place = (at) => {
    divider = Math.min(100, Math.max(0, at));
    range.value = divider;
    box.style.setProperty("--at", `${divider}%`);
  };
  const follow = (event) => {
    const { left: edge, width } = box.getBoundingClientRect();
    place(((event.clientX - edge) / width) * 100);
  };
  box.addEventListener("pointerdown", (event) => {
    box.setPointerCapture(event.pointerId);
    follow(event);
  });
  box.addEventListener("pointermove", (event) => box.hasPointerCapture(event.pointerId) && follow(event));
  const pick = (side, value, label) => {
    const select = make("select", { "aria-label": label, onchange: (event) => change({ [side]: event.target.value }) });
    choice(select, names.map((name) => [name, labelOf(name)]), value);
    return select;
  };
  byId("compare").replaceChildren(
    make("div", { class: "compare-ends" }, pick("left", left, "Film on the left"), pick("right", right, "Film on the right")),
    box, range);
  const film = filmOf(right);
  box.style.setProperty("--shape", `${film.width} / ${film.height}`);
  place(divider);
  paintAll();
};
