"use strict";
// Draws the charts of a page, and has htmx load its content again when a task has changed.
(() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];  // between two rounds' numbers
  const SAID = {
    share: (v, digits) => (100 * v).toFixed(digits) + " %",
    bytes: (v) => (v >= 1e6 ? (v / 1e6).toPrecision(3) + " MB" : v >= 1e3 ? (v / 1e3).toPrecision(3) + " kB" : v + " B"),
    number: (v) => String(Number(v.toPrecision(4))),
  };

  function draw(place) {
    const { unit, band, lines, columns } = JSON.parse(place.dataset.chart);
    if (!columns[0].length) {
      place.textContent = "No round has closed yet.";
      return;
    }
    if (!columns.slice(1).some((column) => column.some((v) => v != null))) {
      place.textContent = "Nothing is known of these rounds.";
      return;
    }
    const said = SAID[unit];
    const axis = { stroke: colour("--text"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
    place.replaceChildren();
    new uPlot({
      width: place.clientWidth, height: 260,
      scales: { x: { time: false }, y: unit === "share" ? { range: [0, 1] } : {} },
      axes: [{ ...axis, incrs: WHOLE }, { ...axis, size: 70, values: (_, all) => all.map((v) => said(v, 0)) }],
      bands: band ? [{ series: band, fill: colour("--band") }] : [],
      series: [{ label: "Round" }, ...lines.map((each) => ({
        label: each.label, stroke: colour(each.colour), dash: each.dash, width: 2,
        value: (_, v) => (v == null ? "" : said(v, 1)),
      }))],
    }, columns, place);
  }

  // A slider of rounds says which one it stands at; htmx loads that round's content.
  document.body.addEventListener("input", (event) => {
    const slider = document.getElementById("at");
    if (!slider) return;
    const rounds = JSON.parse(slider.dataset.rounds), number = document.getElementById("round");
    if (event.target === slider) number.value = rounds[slider.value];
    else if (event.target === number && rounds.includes(number.valueAsNumber)) slider.value = rounds.indexOf(number.valueAsNumber);
    document.getElementById("chosen").textContent = number.value;
  });

  const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);

  function listen() {
    const main = document.getElementById("main");
    if (!main.hasAttribute("hx-get")) return;
    const events = new EventSource("/api/v1/events");
    // What changed between the page's making and the stream's beginning is not told: look once.
    events.addEventListener("open", () => document.body.dispatchEvent(new CustomEvent("changed")));
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
