"use strict";
/* One custom element: a live series of counts, at times in UTC. Its points are an attribute, which server-sent fragments morph;
   the chart lives in a shadow root, so that morphing leaves it alone. Without scripts its children show. */
const clock = (second) => new Date(second * 1000).toISOString().slice(11, 19);
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000];

class LiveSeries extends HTMLElement {
  static observedAttributes = ["data-points"];

  connectedCallback() {
    const root = this.shadowRoot || this.attachShadow({ mode: "open" });
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = this.dataset.style;
    this.plot = document.createElement("div");
    root.replaceChildren(style, this.plot);
    this.draw();
    this.resized = new ResizeObserver(() => this.chart.setSize({ width: this.clientWidth, height: 130 }));
    this.resized.observe(this);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.redraw = () => this.draw();
    this.scheme.addEventListener("change", this.redraw);
  }

  disconnectedCallback() {
    this.resized.disconnect();
    this.scheme.removeEventListener("change", this.redraw);
    this.chart.destroy();
    this.chart = null;
  }

  attributeChangedCallback() {
    if (this.chart) this.chart.setData(this.points());
  }

  points() {
    return JSON.parse(this.dataset.points);
  }

  draw() {
    if (this.chart) this.chart.destroy();
    const style = getComputedStyle(this);
    const axis = {
      stroke: getComputedStyle(document.body).color,
      grid: { stroke: "rgba(128,150,160,.25)" },
      ticks: { show: false },
      font: "11px sans-serif"
    };
    this.chart = new uPlot({
      width: this.clientWidth || 480,
      height: 130,
      legend: { show: false },
      cursor: { show: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(high || 0, 1) * 1.1] } },
      axes: [{ ...axis, space: 90, size: 28, values: (_, at) => at.map(clock) }, { ...axis, size: 46, incrs: STEPS }],
      series: [{}, { stroke: style.color, width: 1.6, fill: "rgba(30,130,150,.15)", points: { show: false } }]
    }, this.points(), this.plot);
  }
}
customElements.define("live-series", LiveSeries);

/* Say so when the live figures stop arriving; they come back on their own. */
function showLost(lost) {
  document.querySelectorAll(".lost").forEach((notice) => { notice.hidden = !lost; });
}
document.addEventListener("htmx:sseError", () => showLost(true));
document.addEventListener("htmx:sseOpen", () => showLost(false));
document.addEventListener("htmx:sseClose", (event) => showLost(event.detail.type === "message"));
