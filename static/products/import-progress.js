// <import-progress>: keeps the server's page of one import true while it runs.
//
// The server renders everything once. Here only numbers are renewed; when the story turns (another
// state or phase) the page itself is fetched again, so each sentence has one home: the template.

import { Feed } from "./feed.js";
import "./in-place.js";
import { Pace, likely } from "./pace.js";
import "./rate-chart.js";
import { localTimes } from "./times.js";

const ENDED = ["SUCCESS", "FAILURE", "CANCELLED"];
const SAY_EVERY = 10000; // what is read out must not drown what its listener is doing
const COPIED = ["version", "state", "phase", "cancelRequested", "silent", "elapsed"];
const LINKS = {
  live: "live",
  polling: "asking every 2 seconds",
  reconnecting: "asking every 2 seconds",
  offline: "not connected",
  "signed-out": "not connected",
  gone: "not connected",
};

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const oneDigit = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) [bytes, unit] = [bytes / 1000, unit + 1];
  return `${(unit ? oneDigit : grouped).format(bytes)} ${units[unit]}`;
}

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const [minutes, rest] = [Math.floor(whole / 60), whole % 60];
  if (minutes < 60) return `${minutes} min ${String(rest).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

// Rows of which it is known what becomes of them.
function settledRows(found) {
  const parts = ["created", "updated", "unchanged", "rejected", "duplicate", "deleted"];
  return parts.reduce((sum, name) => sum + (found[`rows_${name}`] ?? 0), 0);
}

class ImportProgress extends HTMLElement {
  connectedCallback() {
    this.saidAt = 0;
    this.pace = new Pace();
    this.adopt(performance.now());
    if (this.over) return;
    this.feed = new Feed({
      socket: this.dataset.socket,
      poll: this.dataset.poll,
      onDocument: (found) => this.show(found),
      onStatus: (status) => this.link(status),
    });
    this.link("connecting");
    this.feed.start();
    this.clock = setInterval(() => this.tick(), 500);
    addEventListener("pagehide", () => this.feed.stop());
    addEventListener("pageshow", (event) => event.persisted && location.reload());
  }

  disconnectedCallback() {
    this.rest();
  }

  rest() {
    clearInterval(this.clock);
    this.feed?.stop();
  }

  get over() {
    return ENDED.includes(this.dataset.state);
  }

  part(selector) {
    return this.querySelector(selector);
  }

  // Take over what the server has rendered. Ages are counted on from there by this browser's
  // steady clock: its wall clock may differ from the server's.
  adopt(now) {
    localTimes(this);
    this.version = Number(this.dataset.version);
    this.beatAt = now - Number(this.dataset.silent) * 1000;
    this.startedAt = this.dataset.elapsed === "" ? null : now - Number(this.dataset.elapsed) * 1000;
  }

  show(found) {
    if (found.version < this.version) return;
    if (this.heartbeat !== undefined && found.heartbeat_at !== this.heartbeat) this.beatAt = performance.now();
    if (found.version > this.version) this.beatAt = performance.now();
    this.heartbeat = found.heartbeat_at;
    this.version = found.version;
    this.numbers(found);
    this.foretell(found);
    this.part("[data-stalled]")?.toggleAttribute("hidden", !found.stalled);
    if (this.turned(found)) this.renew();
  }

  turned(found) {
    const { state, phase, cancelRequested } = this.dataset;
    return found.state !== state || found.phase !== phase || String(found.cancel_requested) !== cancelRequested;
  }

  numbers(found) {
    for (const place of this.querySelectorAll("[data-field^=rows_], [data-field=products_deactivated]")) {
      place.textContent = grouped.format(found[place.dataset.field] ?? 0);
    }
    this.part("[data-field=rows_rejected]")?.parentElement.classList.toggle("bad", found.rows_rejected > 0);
    this.write("bytes_read", size(found.bytes_read));
    this.write("percent", grouped.format(found.percent));
    const read = found.bytes_total ? found.bytes_read / found.bytes_total : 0;
    const settled = settledRows(found);
    this.write("settled", grouped.format(settled), "[data-settled]");
    const expected = read ? found.rows_read / read : 0;
    this.bar("reading", 100 * read);
    const check = this.part(".steps .going");
    if (check && read >= 1) {
      check.className = "done";
      check.querySelector(".quiet").textContent = "done";
    }
    this.bar("writing", expected ? (100 * settled) / expected : 0);
    this.bar("whole", found.percent);
    this.tick();
    if (found.state !== "PROGRESS") return;
    const percent = grouped.format(found.percent);
    this.write("step", `${percent} %`, "[data-step-now]");
    document.title = document.title.replace(/^[^·]*·/, `${percent} % ·`);
    this.say(`${percent} percent, ${grouped.format(found.rows_read)} rows read`);
  }

  // What the last seconds tell of the next ones, and the drawing of them.
  foretell(found) {
    if (found.state !== "PROGRESS") return;
    const now = performance.now() / 1000;
    this.pace.add(now, { ...found, settled: settledRows(found) });
    const left = this.pace.left();
    this.write("left", left ? likely(left) : "–", "[data-left]");
    this.chart ??= document.createElement("rate-chart");
    if (!this.chart.isConnected) this.part("[data-chart-place]")?.append(this.chart);
    const words = found.phase === "comparing" ? "compared" : "written";
    this.chart.draw(this.pace.rates, (this.startedAt ?? 0) / 1000, words);
  }

  write(name, text, selector = `[data-field=${name}]`) {
    const place = this.part(selector);
    if (place) place.textContent = text;
  }

  bar(name, percent) {
    const bar = this.part(`[data-bar=${name}]`);
    if (bar) bar.value = Math.min(100, percent);
  }

  tick() {
    const now = performance.now();
    const silent = (now - this.beatAt) / 1000;
    const text = (selector, words) => {
      const place = this.part(selector);
      if (place) place.textContent = words;
    };
    text("[data-silent-text]", duration(silent));
    if (this.startedAt !== null) text("[data-elapsed-text]", duration((now - this.startedAt) / 1000));
  }

  link(status) {
    this.status = status;
    for (const note of this.querySelectorAll("[data-status]")) note.hidden = note.dataset.status !== status;
    const words = this.part("[data-link-text]");
    if (words) words.textContent = LINKS[status] ?? "connecting…";
  }

  // What had the focus is gone with the sentence it belonged to: go on from the top of the page, not of the window.
  focusHeading() {
    const heading = this.part("h1");
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }

  say(words, now = performance.now()) {
    if (now - this.saidAt < SAY_EVERY && this.saidAt) return;
    this.saidAt = now;
    this.part("[data-say]").textContent = words;
  }

  async renew() {
    if (this.renewing) return;
    this.renewing = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected) return this.link("signed-out");
      if (answer.ok) this.replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // Away for a moment: the next document asks again, and after the end the clock does.
    } finally {
      this.renewing = false;
    }
    if (this.over) this.rest();
    else setTimeout(() => this.feed.ask(), 1000);
  }

  replace(page) {
    const fresh = page.querySelector(this.localName);
    if (!fresh || Number(fresh.dataset.version) < this.version) return;
    const asking = this.part("details.confirm")?.open;
    const focused = this.part("[data-view]").contains(document.activeElement) && !asking;
    for (const name of COPIED) this.dataset[name] = fresh.dataset[name];
    this.part("[data-view]").replaceChildren(...fresh.querySelector("[data-view]").childNodes);
    if (this.chart) this.part("[data-chart-place]")?.append(this.chart);
    document.title = page.title;
    this.adopt(performance.now());
    if (focused) this.focusHeading();
    if (this.part("details.confirm")) this.part("details.confirm").open = Boolean(asking);
    if (this.over || this.dataset.phase === "checked") this.say(page.title, Infinity);
    else this.link(this.status);
  }
}

customElements.define("import-progress", ImportProgress);
