"use strict";
(() => {
  const held = (id) => JSON.parse(document.getElementById(id).textContent);
  const specs = held("specs");
  const state = held("state");
  const rows = Object.fromEntries(
    Object.entries(held("rows")).map(([name, columns]) => [name, unpacked(columns)])
  );
  const views = {};
  const FIRST = 1;
  let turns = 0;
  const pickers = Object.fromEntries(
    ["segment", "measure", "window", "part"].map((id) => [id, document.getElementById(id)])
  );
  const WHOLE = pickers.window.dataset.whole;
  const wanted = { key: "segment", measure: "measure", window: "window", part: "part" };
  const glyphs = held("glyphs");

  function unpacked(columns) {
    const names = Object.keys(columns);
    const values = names.map((name) => {
      const { values, codes, texts, runs } = columns[name];
      const heads = values || codes.map((code) => (code < 0 ? null : texts[code]));
      return runs ? heads.flatMap((head, i) => Array(runs[i]).fill(head)) : heads;
    });
    const count = values.length ? values[0].length : 0;
    return Array.from({ length: count }, (_, i) =>
      Object.fromEntries(names.map((name, j) => [name, values[j][i]]))
    );
  }

  const ofSegment = (name) => rows[name].filter((row) => row.key === state.segment);

  function hasRows(figure) {
    return rows[figure.rows].some((row) =>
      figure.follows.every((field) => row[field] === state[wanted[field]])
    );
  }

  // A figure without rows for what is chosen says so instead of showing empty axes.
  function showFigures() {
    for (const [name, figure] of Object.entries(specs)) {
      const some = hasRows(figure);
      document.getElementById(`chart-${name}`).hidden = !some;
      const none = document.getElementById(`none-${name}`);
      none.hidden = some || none.textContent === "";
    }
  }

  function fill(picker, options, chosen) {
    picker.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    picker.value = chosen;
  }

  // Windows and parts are those the page holds of the chosen segment.
  function settle(change) {
    const windows = ofSegment("windows");
    const known = [WHOLE, ...windows.map((row) => row.window)];
    const asked = "window" in change || !("segment" in change);
    if (!asked || !known.includes(state.window)) {
      const worst = windows.find((row) => row.place === 0);
      state.window = worst ? worst.window : WHOLE;
    }
    const dated = windows.map((row) => [
      row.window, row.window + (row.place === 0 ? " (worst)" : ""),
    ]);
    fill(pickers.window, [...dated.sort(), [WHOLE, "all windows together"]], state.window);
    const parts = new Map(ofSegment("contributions").map((row) => [row.part, row.label]));
    if (!("part" in change)) {
      const own = pickers.measure.selectedOptions[0].dataset.part;
      state.part = parts.has(own) || !parts.size ? own : parts.keys().next().value;
    }
    fill(pickers.part, [...parts], state.part);
    pickers.part.disabled = parts.size < 2;
  }

  function cell(text, kind, tag = "td") {
    const made = document.createElement(tag);
    if (tag === "th") made.scope = "row";
    made.textContent = text;
    made.className = kind || "";
    return made;
  }

  const number = (value) => (value === null ? "–" : String(Number(value.toPrecision(3))));

  const chance = (value) => (value !== null && value < 0.001 ? "< 0.001" : number(value));

  // A change of means stands beside the two means it is between.
  const change = (row) => number(row.score) + (row.production === null ? ""
    : ` (${number(row.production)} to ${number(row.experimental)})`);

  function measureLine(row) {
    const line = document.createElement("tr");
    const status = row.status in glyphs
      ? cell(glyphs[row.status], `status ${row.status}`)
      : cell("no threshold");
    line.append(
      cell(row.output), cell(row.metric), cell(row.test), cell(change(row), "n"),
      cell(row.low === null ? "–" : `${number(row.low)} to ${number(row.high)}`, "n"),
      cell(number(row.threshold), "n"), cell(chance(row.q_value), "n"),
      cell(number(row.detectable), "n"), status
    );
    return line;
  }

  function showMeasures() {
    const own = ofSegment("measures").filter((row) => row.window === state.window);
    document.getElementById("measures").replaceChildren(...own.map(measureLine));
    document.getElementById("no-measures").hidden = own.length > 0;
  }

  // Tables of the chosen segment are filled from the rows that its charts are drawn of.
  function showTables() {
    for (const body of document.querySelectorAll("[data-rows]")) {
      const columns = body.dataset.columns.split(" ").map((one) => one.split(":"));
      const { only } = body.dataset;
      const own = ofSegment(body.dataset.rows).filter((row) => !only || row.kind === only);
      body.replaceChildren(...own.map((row) => {
        const line = document.createElement("tr");
        line.append(...columns.map(([name, kind], place) => {
          const value = row[name];
          const text = typeof value === "number" ? number(value) : value || "–";
          return cell(text, kind, place ? "td" : "th");
        }));
        return line;
      }));
      body.closest("table").hidden = body.children.length === 0;
    }
  }

  function showTexts() {
    for (const element of document.querySelectorAll("[data-segment]")) {
      element.hidden = element.dataset.segment !== state.segment;
    }
    for (const otherwise of document.querySelectorAll("[data-otherwise]")) {
      otherwise.hidden =
        otherwise.parentElement.querySelector("[data-segment]:not([hidden])") !== null;
    }
    for (const row of document.querySelectorAll("[data-row]")) {
      row.classList.toggle("chosen", row.dataset.row === state.segment);
    }
    const chosen = pickers.segment.selectedOptions[0];
    const told = {
      segment: chosen.textContent,
      users: chosen.dataset.users,
      measure: pickers.measure.selectedOptions[0].textContent,
      window: state.window === WHOLE ? "all windows together" : `window from ${state.window}`,
    };
    for (const element of document.querySelectorAll("[data-told]")) {
      element.textContent = told[element.dataset.told];
    }
  }

  async function embed(name) {
    const figure = specs[name];
    const spec = { ...figure.spec, datasets: { [figure.rows]: rows[figure.rows] } };
    const { view } = await vegaEmbed(`#chart-${name}`, spec, {
      actions: false, renderer: "svg", mode: "vega-lite", logLevel: 1,
    });
    if (figure.picks) {
      view.addEventListener("click", (_event, item) => {
        const picked = pickedFrom(item);
        if (picked !== null) choose(picked);
      });
    }
    return view;
  }

  // Draws what has rows, from the top; a later choice takes over from an earlier one.
  async function draw() {
    const turn = ++turns;
    const due = Object.keys(specs).filter((name) => hasRows(specs[name]));
    for (const [place, name] of due.entries()) {
      const known = name in views;
      views[name] ??= embed(name);
      const view = await views[name];
      if (turn !== turns) return false;
      for (const [signal, value] of Object.entries(state)) view.signal(signal, value);
      await (known ? view.resize() : view).runAsync();
      if (turn !== turns) return false;
      // The first charts are on the screen; let the browser paint them before the others.
      if (place === FIRST) await new Promise((go) => setTimeout(go));
    }
    return true;
  }

  async function choose(change) {
    Object.assign(state, change);
    pickers.segment.value = state.segment;
    pickers.measure.value = state.measure;
    settle(change);
    showTexts();
    showMeasures();
    showTables();
    showFigures();
    if (!(await draw())) return;
    document.body.dataset.shown = `${state.segment} ${state.measure}`;
    document.body.dataset.window = state.window;
  }

  // What a click means: a segment, and of a cell of scores its window too.
  function pickedFrom(item) {
    const datum = item && item.datum;
    if (!datum) return null;
    const known = [...pickers.segment.options].find((one) =>
      [datum.key, datum.value].includes(one.value) || one.textContent === datum.value
    );
    if (!known) return null;
    return datum.window ? { segment: known.value, window: datum.window } : { segment: known.value };
  }

  async function start() {
    for (const [name, picker] of Object.entries(pickers)) {
      picker.addEventListener("change", () => choose({ [name]: picker.value }));
    }
    for (const button of document.querySelectorAll("button[data-pick]")) {
      button.addEventListener("click", () => choose({ segment: button.dataset.pick }));
    }
    await choose({});
  }

  start().catch((error) => {
    const place = document.getElementById("failed");
    place.textContent = `The charts could not be drawn: ${error.message}`;
    place.hidden = false;
    throw error;
  });
})();
