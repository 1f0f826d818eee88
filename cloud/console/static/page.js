"use strict";
// Draws the charts of a page, and has htmx load its content again when a task has changed.
(() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function draw(place) {
    const columns = JSON.parse(place.dataset.chart);
    if (!columns[0].length) {
      place.textContent = "No round has closed yet.";
      return;
    }
    const line = (label, stroke, more) => ({
      label, stroke, width: 2, value: (_, v) => (v == null ? "" : (100 * v).toFixed(1) + " %"), ...more,
    });
    const axis = { stroke: colour("--text"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
    place.replaceChildren();
    new uPlot({
      width: place.clientWidth, height: 260,
      scales: { x: { time: false }, y: { range: [0, 1] } },
      axes: [axis, { ...axis, values: (_, all) => all.map((v) => Math.round(100 * v) + " %") }],
      bands: [{ series: [4, 2], fill: colour("--soft") }],
      series: [
        { label: "Round" },
        line("Together", colour("--link")),
        line("Low (10 %)", colour("--line")),
        line("Median", colour("--good"), { dash: [6, 4] }),
        line("High (90 %)", colour("--line")),
        line("Alone", colour("--wait"), { dash: [2, 4] }),
      ],
    }, columns, place);
  }

  const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);

  function listen() {
    const main = document.getElementById("main");
    if (!main.hasAttribute("hx-get")) return;
    const events = new EventSource("/api/v1/events");
    events.addEventListener("changed", (event) => {
      const task = main.dataset.task;
      if (task === undefined || JSON.parse(event.data).includes(task)) {
        document.body.dispatchEvent(new CustomEvent("changed"));
      }
    });
    window.addEventListener("pagehide", () => events.close());
  }

  document.body.addEventListener("htmx:afterSettle", drawAll);
  window.addEventListener("resize", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  drawAll();
  listen();
})();
