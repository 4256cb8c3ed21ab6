"use strict";
(() => {
  const held = (id) => JSON.parse(document.getElementById(id).textContent);
  const specs = held("specs");
  const state = held("state");
  const rows = Object.fromEntries(
    Object.entries(held("rows")).map(([name, columns]) => [name, unpacked(columns)])
  );
  const views = [];
  const segmentPicker = document.getElementById("segment");
  const measurePicker = document.getElementById("measure");
  const wanted = { key: "segment", measure: "measure", output: "output" };

  function unpacked(columns) {
    const names = Object.keys(columns);
    const values = names.map((name) => {
      const { values, codes, texts } = columns[name];
      return values || codes.map((code) => (code < 0 ? null : texts[code]));
    });
    const count = values.length ? values[0].length : 0;
    return Array.from({ length: count }, (_, i) =>
      Object.fromEntries(names.map((name, j) => [name, values[j][i]]))
    );
  }

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
      document.getElementById(`none-${name}`).hidden = some;
    }
  }

  function showTexts() {
    for (const element of document.querySelectorAll("[data-segment]")) {
      element.hidden = element.dataset.segment !== state.segment;
    }
    for (const row of document.querySelectorAll("[data-row]")) {
      row.classList.toggle("chosen", row.dataset.row === state.segment);
    }
    const told = {
      segment: segmentPicker.selectedOptions[0].textContent,
      measure: measurePicker.selectedOptions[0].textContent,
      output: state.output,
    };
    for (const element of document.querySelectorAll("[data-told]")) {
      element.textContent = told[element.dataset.told];
    }
  }

  async function choose(change) {
    Object.assign(state, change);
    state.output = measurePicker.querySelector(
      `option[value="${CSS.escape(state.measure)}"]`
    ).dataset.output;
    segmentPicker.value = state.segment;
    measurePicker.value = state.measure;
    showTexts();
    showFigures();
    for (const view of views) {
      for (const [name, value] of Object.entries(state)) view.signal(name, value);
      await view.resize().runAsync();
    }
    document.body.dataset.shown = `${state.segment} ${state.measure}`;
  }

  function pickedFrom(item) {
    const datum = item && item.datum;
    if (!datum) return null;
    const known = [...segmentPicker.options].find((one) =>
      [datum.key, datum.value].includes(one.value) || one.textContent === datum.value
    );
    return known ? known.value : null;
  }

  async function start() {
    for (const [name, figure] of Object.entries(specs)) {
      const spec = { ...figure.spec, datasets: { [figure.rows]: rows[figure.rows] } };
      const { view } = await vegaEmbed(`#chart-${name}`, spec, {
        actions: false, renderer: "svg", mode: "vega-lite", logLevel: 1,
      });
      views.push(view);
      if (figure.picks) {
        view.addEventListener("click", (_event, item) => {
          const segment = pickedFrom(item);
          if (segment !== null) choose({ segment });
        });
      }
    }
    segmentPicker.addEventListener("change", () => choose({ segment: segmentPicker.value }));
    measurePicker.addEventListener("change", () => choose({ measure: measurePicker.value }));
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
