"use strict";
/* One custom element: a live series. Its points are an attribute, which server-sent fragments morph;
   the chart lives in a shadow root, so that morphing leaves it alone. Without scripts its children show. */
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
    this.resized = new ResizeObserver(() => this.chart.setSize({ width: this.clientWidth, height: 150 }));
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
      height: 150,
      legend: { show: false },
      cursor: { show: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(high || 0, 1) * 1.1] } },
      axes: [axis, { ...axis, size: 46 }],
      series: [{}, { stroke: style.color, width: 1.6, fill: "rgba(30,130,150,.15)", points: { show: false } }]
    }, this.points(), this.plot);
  }
}
customElements.define("live-series", LiveSeries);
