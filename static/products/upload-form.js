// <upload-form>: shows what is in a file before it is sent, maps its columns while it is sent, and sends it.
//
// A small file goes with the form itself. A larger one starts on its way as soon as it is chosen, in parts
// (resumable-upload.js); the form then only says what to do with it.

import { csrfToken } from "../csrf.js";
import { element, fold } from "./column-mapping.js";
import { counted, duration, grouped, size } from "./figures.js";
import { preview, readHead, ROWS_SHOWN, rowsExpected } from "./file-preview.js";
import { ResumableUpload, unfinishedUploads, wordsFor } from "./resumable-upload.js";

const SENT_WITH_THE_FORM = 1024 * 1024; // bytes
const LARGE_BYTES = 200_000;
const LARGE_ROWS = 1000;
const SAY_EVERY = 10_000; // milliseconds between two announcements of the progress
const HASHED_UP_TO = 1e9; // bytes
const CELL_LENGTH = 80;
const COLUMNS_SHOWN = 50;
const NO_ID = "00000000-0000-0000-0000-000000000000";
const DELIMITER_WORDS = { ",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes" };

class UploadForm extends HTMLElement {
  connectedCallback() {
    this.form = this.querySelector("form");
    this.file = this.querySelector("input[type=file]");
    this.mapper = this.querySelector("column-mapping");
    this.checkFirst = this.form.elements.check_first;
    this.rules = JSON.parse(this.querySelector("#product-columns").textContent);
    this.part("drop-hint").hidden = false;
    this.part("format-place").append(this.part("format"));
    this.part("format").querySelector("legend").classList.add("visually-hidden");
    this.file.addEventListener("change", () => this.chosen());
    this.part("format").addEventListener("change", () => this.look());
    this.mapper.addEventListener("change", () => this.decided());
    this.checkFirst.addEventListener("change", () => this.remember());
    for (const mode of this.form.elements.mode) mode.addEventListener("change", () => this.decided());
    this.form.addEventListener("input", ({ target }) => this.forgive(target));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.part("pause").addEventListener("click", () => (this.upload.state === "paused" ? this.upload.again() : this.upload.pause()));
    this.part("retry").addEventListener("click", () => this.upload.again());
    this.part("discard").addEventListener("click", () => this.discard());
    this.part("not-yet").addEventListener("click", () => this.wait(false));
    this.takeDrops();
    addEventListener("beforeunload", (event) => this.leaving && event.preventDefault());
    this.decided();
    this.chosen(); // a browser may have kept the choice over a reload
    this.showUnfinished();
    // By Back a browser brings the choice of then after this has run: what looks chosen is shown, and goes as it says.
    addEventListener("pageshow", () => this.file.files.length && !this.turned && this.chosen());
  }

  part(name) {
    return this.querySelector(`[data-${name}]`);
  }

  /** Anywhere on the page: beside the mark, the browser would open the file and leave the page. */
  takeDrops() {
    const drop = this.querySelector(".drop");
    for (const kind of ["dragenter", "dragover"]) {
      document.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.add("over");
      });
    }
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) drop.classList.remove("over");
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      if (this.file.disabled || !event.dataTransfer.files.length) return;
      this.file.files = event.dataTransfer.files;
      this.chosen();
    });
  }

  // --- the file, and what is in it -------------------------------------------------------------

  async chosen() {
    const [file] = this.file.files;
    const turn = (this.turn = Symbol("the file that counts"));
    this.turned = Boolean(file);
    this.upload?.discard();
    this.upload = this.head = this.read = this.mapper.asked = null;
    this.part("seen").replaceChildren();
    for (const name of ["preview", "columns", "sending"]) this.part(name).hidden = true;
    for (const field of this.part("format").querySelectorAll("input, select")) field.value = "";
    this.part("chosen").textContent = file ? `${file.name} · ${size(file.size)}` : "";
    this.problem("");
    this.decided();
    if (!file) return;
    let words = refusal(file, Number(this.dataset.maxBytes));
    if (!words) {
      const head = await readHead(file).catch(() => null);
      if (turn !== this.turn) return;
      if (!head) words = `${file.name} can't be read. Is it still there, and may you open it?`;
      else if (head.kind.how === "refused") words = `${file.name} is ${head.kind.words}. ${head.kind.advice}`;
      this.head = head;
    }
    this.refused = words;
    if (words) return this.problem(words);
    this.look();
    this.showSame(file, turn);
    if (file.size > SENT_WITH_THE_FORM) this.startSending(file);
  }

  /** Show how the file reads, by what was chosen of its format. */
  look() {
    const { head } = this;
    if (!head) return;
    this.part("preview").hidden = false;
    const readable = head.kind.how === "text";
    for (const field of this.querySelectorAll("[data-of-text]")) field.hidden = !readable;
    for (const field of this.querySelectorAll("[data-of-workbook]")) field.hidden = head.kind.how !== "workbook";
    this.part("format-place").hidden = head.kind.how === "opaque";
    this.part("table").hidden = !readable;
    if (!readable) {
      this.part("columns").hidden = true;
      this.part("summary").textContent = `This is ${head.kind.words}. It will be read on the server; its columns are matched by their names.`;
      return this.decided();
    }
    this.read = preview(head, this.told, this.find);
    this.nameWhatWasFound();
    this.part("summary").replaceChildren(...this.summary());
    this.showRows();
    this.map();
    this.decided();
  }

  /** What was said of the format, in the reader's words. */
  get told() {
    const { encoding, delimiter, quote, header_line: line } = this.form.elements;
    return {
      encoding: encoding.value || undefined,
      delimiter: delimiter.value === "tab" ? "\t" : delimiter.value || undefined,
      quote: quote.value === "none" ? "" : quote.value || undefined,
      headerLine: line.validity.valid ? Number(line.value) || undefined : undefined,
    };
  }

  /** Each choice says what is found as long as nothing else is chosen for it. */
  nameWhatWasFound() {
    const { encoding, delimiter, quote, header_line: line } = this.form.elements;
    for (const [field, value] of [
      [encoding, this.readWithout("encoding").encoding],
      [delimiter, this.readWithout("delimiter").delimiter.replace("\t", "tab")],
      [quote, this.readWithout("quote").quote || "none"],
    ]) {
      const known = [...field.options].find((option) => option.value && option.value === value);
      field.options[0].text = `${(known?.text ?? value).split(" (")[0]} (found)`;
    }
    line.placeholder = `${this.readWithout("headerLine").headerLine ?? "none"} (found)`;
  }

  /** How the file reads if one thing that was said of it were found out instead. */
  readWithout(name) {
    const told = this.told;
    return told[name] === undefined ? this.read : preview(this.head, { ...told, [name]: undefined }, this.find);
  }

  find = (header) => this.rules.by_header[fold(header)] ?? "";

  summary() {
    const { read, head } = this;
    const [file] = this.file.files;
    const rows = rowsExpected(read, head.bytes.length, file.size);
    const about = head.packed && !read.whole ? "Many rows" : `${read.whole ? "" : "About "}${counted(read.whole ? rows : rounded(rows), "row")}`;
    const cells = read.header.length > 1 ? ` parted by ${DELIMITER_WORDS[read.delimiter] ?? read.delimiter}` : "";
    const first = element("span", {}, `${about}, ${counted(read.header.length, "column")}${cells}${head.packed ? ", in a gzip archive" : ""}.`);
    const warnings = [];
    if (!read.header.length) warnings.push("There is no line that names the columns.");
    if (read.isGuess) {
      const found = this.form.elements.encoding.options[0].text.replace(" (found)", "");
      warnings.push(`${found} is a guess: see whether all letters read right, and choose the encoding.`);
    }
    if (read.unreadable) warnings.push(`${counted(read.unreadable, "character")} can't be read so; shown as �. Another encoding may fit.`);
    if (read.odd?.what === "open") warnings.push(`The quotation mark on line ${grouped(read.odd.line)} is never closed.`);
    if (read.odd?.what === "misplaced") warnings.push(`On line ${grouped(read.odd.line)}, text follows a closing quotation mark.`);
    if (read.uneven) warnings.push(`Line ${grouped(read.uneven)} has another number of cells than the header.`);
    return [first, ...warnings.map((words) => element("span", { className: "warn" }, words))];
  }

  showRows() {
    const { header, headerLine, rows } = this.read;
    const width = Math.min(header.length, COLUMNS_SHOWN);
    const hidden = header.length - width;
    const shown = rows.slice(0, ROWS_SHOWN);
    const caption = `Its first ${shown.length === 1 ? "row" : `${shown.length} rows`}${hidden ? `; ${counted(hidden, "more column")} not shown` : ""}`;
    const line = (number, cells, tag) =>
      element("tr", {}, element("th", { scope: "row", className: "right" }, String(number ?? "")), ...cells);
    const head = element("thead", {}, line(headerLine, header.slice(0, width).map((name) => element("th", { scope: "col" }, name || "–"))));
    const body = element("tbody", {}, ...shown.map((row) => line(row.line, cellsOf(row.cells, width))));
    this.part("table").replaceChildren(element("table", { className: "rows" }, element("caption", {}, caption), head, body));
  }

  // --- its columns -----------------------------------------------------------------------------

  /** Match the columns at once by their names, then as the server remembers them. */
  async map() {
    const { header } = this.read;
    const fits = header.length > 0 && header.length <= this.rules.max_columns;
    this.part("columns").hidden = !fits;
    const asked = JSON.stringify(header);
    if (this.mapper.asked === asked) return fits && this.mapper.update(this.read);
    this.mapper.asked = asked;
    this.mapper.touched = false;
    this.proposal = null;
    if (!fits) return;
    this.mapper.show(this.read, this.rules);
    const proposal = await this.ask(this.dataset.mapping, { headers: header });
    if (this.mapper.asked !== asked || !proposal) return;
    this.proposal = proposal;
    if (!proposal.remembered || this.mapper.touched) return;
    this.mapper.show(this.read, this.rules, proposal.mapping);
    this.mapper.prepend(element("p", { className: "quiet" }, "As it was mapped the last time."));
    this.decided();
  }

  /** What to send of the mapping: all of it as soon as it says more than the names do, or than the server knows. */
  get mapping() {
    if (!this.read || this.part("columns").hidden) return null;
    const asProposed = this.proposal && JSON.stringify(this.proposal.mapping) === JSON.stringify(this.mapper.mapping);
    return asProposed ? null : this.mapper.mapping;
  }

  async ask(address, body) {
    try {
      const answer = await fetch(address, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-CSRFToken": csrfToken() },
        body: JSON.stringify(body),
      });
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  }

  // --- what to do with it ----------------------------------------------------------------------

  /** Bring what depends on the choices in line with them. */
  decided() {
    const sync = this.form.elements.mode.value === "sync";
    this.part("sync-only").hidden = !sync;
    const guess = Boolean(this.read?.isGuess);
    this.part("look-note").textContent = sync
      ? "Always so where products may be deactivated."
      : guess
        ? "Always so where the encoding is a guess."
        : "";
    this.checkFirst.disabled = sync || guess;
    this.checkFirst.checked = sync || guess || this.wantsToLook;
    this.part("submit").textContent = this.checkFirst.checked ? "Upload and check" : "Upload and import";
  }

  get isLarge() {
    const [file] = this.file.files;
    if (!file) return false;
    return file.size > LARGE_BYTES || !this.read || this.read.rows.length > LARGE_ROWS;
  }

  /** What was chosen last time for files like this; else large ones are looked at, small ones are not. */
  get wantsToLook() {
    const [file] = this.file.files;
    if (!file) return this.checkFirst.checked && !this.checkFirst.disabled;
    const kept = stored(this.choiceName);
    return kept === null ? this.isLarge : kept === "yes";
  }

  get choiceName() {
    return `odata.look-first.${this.isLarge ? "large" : "small"}`;
  }

  remember() {
    if (this.file.files.length) store(this.choiceName, this.checkFirst.checked ? "yes" : "no");
    this.decided();
  }

  // --- sending ---------------------------------------------------------------------------------

  startSending(file) {
    this.said = performance.now();
    this.upload = new ResumableUpload(file, {
      endpoint: this.dataset.uploads,
      changed: (upload) => this.showSending(upload),
    });
    this.part("unfinished").replaceChildren();
    this.part("sending").hidden = false;
    this.upload.start();
  }

  showSending(upload) {
    const { state, sent, total, speed, secondsLeft } = upload;
    const bar = this.querySelector("#sending");
    [bar.max, bar.value] = [total, sent];
    const percent = Math.floor((100 * sent) / total);
    const speedWords = speed ? ` · ${size(speed)}/s · ${duration(secondsLeft)} left` : "";
    this.part("sent").textContent = state === "done" ? size(total) : `${percent} % · ${size(sent)} of ${size(total)}${speedWords}`;
    const label = {
      sending: "Sending",
      paused: "Paused",
      waiting: `${upload.because}; trying again`,
      failed: "Not sent",
      done: "Sent",
    }[state];
    const news = this.part("sending-label").textContent !== label;
    this.part("sending-label").textContent = label;
    this.part("pause").hidden = !["sending", "paused", "waiting"].includes(state);
    this.part("pause").textContent = state === "paused" ? "Go on" : "Pause";
    this.part("retry").hidden = state !== "failed";
    this.part("discard").hidden = state === "done";
    if (news || performance.now() - this.said > SAY_EVERY) {
      this.said = performance.now();
      this.part("sending-words").textContent = `${label}, ${percent} %`;
    }
    if (news && state === "failed") this.problem(upload.problem);
    if (news && ["sending", "done"].includes(state)) this.problem("");
    if (state === "done" && this.wanted) this.begin(JSON.stringify({ upload: upload.id, ...this.options }), { "Content-Type": "application/json" });
  }

  discard() {
    this.wait(false);
    this.form.elements.file.value = "";
    this.chosen();
    this.file.focus();
  }

  get leaving() {
    return this.wanted || (this.upload && !["done", "paused", "failed"].includes(this.upload.state));
  }

  // --- the import ------------------------------------------------------------------------------

  submit() {
    if (this.wanted) return;
    if (this.refused) return this.problem(this.refused, { focus: true });
    if (this.read && !this.part("columns").hidden && this.mapper.problems.length) return this.mapper.focusProblem();
    this.problem("");
    this.wait(true);
    if (this.file.files[0].size <= SENT_WITH_THE_FORM) {
      const body = new FormData();
      const { mapping, ...options } = this.options;
      for (const [name, value] of Object.entries(options)) body.append(name, value);
      if (mapping) body.append("mapping", JSON.stringify(mapping));
      body.append("file", this.file.files[0]);
      this.begin(body, {});
    } else if (this.upload) {
      if (this.upload.state === "paused" || this.upload.state === "failed") this.upload.again();
      else this.showSending(this.upload);
    }
  }

  /** What was chosen, of the types that the API has, without what was left to be found out. */
  get options() {
    const fields = [...new FormData(this.form)].filter(([name, value]) => typeof value === "string" && value && name !== "csrfmiddlewaretoken");
    const options = Object.fromEntries(fields);
    if (options.header_line) options.header_line = Number(options.header_line);
    return { ...options, check_first: this.checkFirst.checked, ...(this.mapping && { mapping: this.mapping }) };
  }

  /** Begin or end the wait for what was asked for; meanwhile nothing can be changed. */
  wait(yes) {
    this.wanted = yes;
    const later = yes && this.upload && this.upload.state !== "done";
    this.part("then").textContent = !yes ? "" : later ? "It starts as soon as all of it is sent." : "One moment …";
    this.part("not-yet").hidden = !later;
    this.part("submit").disabled = yes;
    this.part("discard").disabled = yes;
    for (const card of this.querySelectorAll("fieldset, column-mapping, details, .look")) card.inert = yes;
    this.file.disabled = yes;
    if (later) this.part("not-yet").focus();
  }

  async begin(body, headers) {
    this.part("not-yet").hidden = true;
    let answer;
    let document;
    try {
      answer = await fetch(this.dataset.imports, { method: "POST", headers: { ...headers, "X-CSRFToken": csrfToken() }, body });
      document = await answer.json();
    } catch {
      const words = answer
        ? `The server could not take it (status ${answer.status}). Nothing was imported; please try again.`
        : "The connection broke before the answer came. See the list of imports whether it arrived; if not, please try again.";
      return this.refuse({ detail: words });
    }
    if (answer.status === 401) return this.refuse({ detail: wordsFor(401) });
    if (!answer.ok) return this.refuse(document);
    await this.upload?.forget();
    this.wanted = false;
    location.assign(this.dataset.page.replace(NO_ID, document.id));
  }

  /** Show a problem (RFC 9457) beside the fields it is about. */
  refuse(problem) {
    this.wait(false);
    const errors = problem.errors ?? [];
    const fields = errors.map((error) => [this.form.elements[error.pointer.slice(1).split("/")[0]], error.message]);
    const own = fields.filter(([field]) => field instanceof HTMLElement && field.labels?.length);
    for (const [field, words] of own) blame(field, words);
    if (!own.length) return this.problem(problem.detail ?? "The server could not take it.", { focus: true });
    this.problem("");
    own[0][0].closest("details")?.setAttribute("open", "");
    own[0][0].focus();
  }

  forgive(field) {
    if (!field.dataset?.blamed) return;
    const words = this.querySelector(`#${field.id}-problem`);
    field.setAttribute("aria-describedby", (field.getAttribute("aria-describedby") ?? "").replace(words.id, "").trim());
    field.removeAttribute("aria-invalid");
    delete field.dataset.blamed;
    words.remove();
  }

  problem(words, { focus = false } = {}) {
    const place = this.part("problem");
    place.replaceChildren(...(words ? [element("p", { className: "note error" }, words)] : []));
    if (focus) place.focus();
  }

  // --- what is known of it ---------------------------------------------------------------------

  /** Say if the same file was imported before. */
  async showSame(file, turn) {
    if (file.size > HASHED_UP_TO) return;
    const digest = await sha256Of(file).catch(() => null);
    if (!digest || turn !== this.turn) return;
    const answer = await fetch(`${this.dataset.imports}?sha256=${digest}&page_size=20`).catch(() => null);
    if (!answer?.ok || turn !== this.turn) return;
    const { results } = await answer.json();
    const same = results.find((each) => each.state === "SUCCESS") ?? results.find((each) => ["PENDING", "PROGRESS"].includes(each.state));
    if (!same || turn !== this.turn) return;
    const by = same.created_by ? ` by ${same.created_by}` : "";
    const what = {
      SUCCESS: `This same file was imported on ${day(same.finished_at ?? same.created_at)}${by}: ${counted(same.rows_read, "row")}${same.undone_by ? ", and undone since" : ""}.`,
      PENDING: `This same file was uploaded on ${day(same.created_at)}${by}, and waits${same.phase === "checked" ? " to be applied" : ""}.`,
      PROGRESS: `This same file is being imported right now${same.created_by ? `, for ${same.created_by}` : ""}.`,
    }[same.state];
    const link = element("a", { href: this.dataset.page.replace(NO_ID, same.id), target: "_blank", rel: "noopener" }, "See that import (in a new tab)");
    this.part("seen").replaceChildren(element("p", { className: "note warning" }, `${what} `, link));
  }

  /** Say which uploads broke off: the browser may not open a file by itself after a reload. */
  async showUnfinished() {
    if (!Object.keys(storage() ?? {}).some((key) => key.startsWith("tus::"))) return;
    const place = this.part("unfinished");
    for (const upload of await unfinishedUploads()) {
      if (this.upload) return;
      const percent = Math.floor((100 * upload.offset) / upload.size);
      const words = percent < 100 ? `to continue at ${percent} %` : "to import it; all of it is here";
      const forget = element("button", { type: "button", className: "plain small" }, "Forget it");
      const note = element("div", { className: "note" }, element("p", {}, `${upload.name} (${size(upload.size)}) was being sent. Drop or choose the same file ${words}.`), forget);
      forget.addEventListener("click", async () => {
        upload.forget();
        note.remove();
        this.file.focus();
        await fetch(upload.url, { method: "DELETE", headers: { "Tus-Resumable": "1.0.0", "X-CSRFToken": csrfToken() } }).catch(() => {});
      });
      place.append(note);
    }
  }
}

function refusal(file, limit) {
  if (file.size > limit) {
    return `${file.name} has ${size(file.size)}, more than the ${size(limit)} this server takes. Split it: each part needs the header row.`;
  }
  return file.size ? "" : `${file.name} is empty. Choose a file with a header row and products.`;
}

function cellsOf(cells, width) {
  return Array.from({ length: width }, (_, at) => {
    const text = cells[at] ?? "";
    return element("td", { className: "cell" }, text.length > CELL_LENGTH ? `${text.slice(0, CELL_LENGTH - 1)}…` : text);
  });
}

/** An estimate, to two figures. */
function rounded(number) {
  const scale = 10 ** Math.max(0, Math.floor(Math.log10(number || 1)) - 1);
  return Math.round(number / scale) * scale;
}

function blame(field, words) {
  const place = element("p", { className: "errorlist", id: `${field.id}-problem` }, words);
  field.after(place);
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", `${field.getAttribute("aria-describedby") ?? ""} ${place.id}`.trim());
  field.dataset.blamed = "yes";
}

function sha256Of(file) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./sha256-worker.js", import.meta.url), { type: "module" });
    const settle = (act, value) => {
      worker.terminate();
      act(value);
    };
    worker.addEventListener("message", ({ data }) => settle(resolve, data));
    worker.addEventListener("error", (event) => settle(reject, event));
    worker.postMessage(file);
  });
}

function day(time) {
  return new Date(time).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}

function storage() {
  try {
    return globalThis.localStorage;
  } catch {
    return null; // forbidden by the browser's settings
  }
}

const stored = (name) => storage()?.getItem(name) ?? null;
const store = (name, value) => storage()?.setItem(name, value);

customElements.define("upload-form", UploadForm);
