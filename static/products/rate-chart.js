// <rate-chart>: rows per second while an import runs, as a drawing (uPlot) and as a table.

const VENDOR = new URL("../vendor/uplot/", import.meta.url);
const HEIGHT = 150;
const TABLE_ROWS = 20;
const FEWEST = 4; // rates; a shorter story is no chart

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const inShort = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

let library;
function loadLibrary() {
  library ??= new Promise((resolve, reject) => {
    const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL("uPlot.min.css", VENDOR) });
    const script = Object.assign(document.createElement("script"), { src: new URL("uPlot.iife.min.js", VENDOR) });
    script.onload = () => resolve(globalThis.uPlot);
    script.onerror = reject;
    document.head.append(style, script);
  });
  return library;
}

class RateChart extends HTMLElement {
  // Rates as Pace keeps them; `start` is the second from which the axis counts.
  draw(rates, start, words) {
    this.rates = rates;
    this.start = start;
    if (rates.length < FEWEST) return;
    if (!this.firstChild) this.build(words);
    this.table();
    this.plot();
  }

  build(words) {
    this.innerHTML = `
      <p class="key"><strong>Rows per second</strong> <span><span class="read" aria-hidden="true">━</span> read</span>
        <span><span class="settled" aria-hidden="true">┅</span> ${words}</span></p>
      <div class="plot" aria-hidden="true"></div>
      <details><summary>The same as a table</summary>
        <table><thead><tr><th scope="col" class="right">After</th><th scope="col" class="right">Read</th><th scope="col" class="right"></th></tr></thead><tbody></tbody></table>
      </details><span class="axis" hidden></span><span class="lines" hidden></span>`;
    this.querySelector("th:last-child").textContent = words[0].toUpperCase() + words.slice(1);
    this.querySelector("details").addEventListener("toggle", () => this.table());
    new ResizeObserver(() => this.drawn?.setSize({ width: this.width, height: HEIGHT })).observe(this);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.drawn?.destroy();
      this.drawn = null;
      this.plot();
    });
  }

  get width() {
    return Math.max(200, this.clientWidth);
  }

  colour(name) {
    return getComputedStyle(this.querySelector(`.${name}`)).color;
  }

  async plot() {
    const uPlot = await loadLibrary().catch(() => null); // the table is there all the same
    if (!uPlot || !this.isConnected) return;
    const data = [this.rates.map((rate) => rate.at - this.start), this.rates.map((rate) => rate.read), this.rates.map((rate) => rate.settled)];
    if (this.drawn) return this.drawn.setData(data);
    const axis = { stroke: this.colour("axis"), grid: { stroke: this.colour("lines"), width: 1 }, ticks: { show: false } };
    this.drawn = new uPlot(
      {
        width: this.width,
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        scales: { x: { time: false }, y: { range: (_, __, most) => [0, Math.max(10, most * 1.1)] } },
        axes: [
          { ...axis, size: 28, space: 70, values: (_, ticks) => ticks.map((tick) => `${tick} s`) },
          { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => inShort.format(tick)) },
        ],
        series: [
          {},
          { stroke: this.colour("read"), width: 2, points: { show: false } },
          { stroke: this.colour("settled"), width: 2, dash: [6, 4], points: { show: false } },
        ],
      },
      data,
      this.querySelector(".plot"),
    );
  }

  table() {
    if (!this.querySelector("details").open) return;
    const step = Math.ceil(this.rates.length / TABLE_ROWS);
    const rows = this.rates.filter((_, index) => index % step === 0).map((rate) => {
      const row = document.createElement("tr");
      for (const text of [`${(rate.at - this.start).toFixed(1)} s`, grouped.format(rate.read), grouped.format(rate.settled)]) {
        row.append(Object.assign(document.createElement("td"), { className: "right", textContent: text }));
      }
      return row;
    });
    this.querySelector("tbody").replaceChildren(...rows);
  }
}

customElements.define("rate-chart", RateChart);
