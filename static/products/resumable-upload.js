// A file on its way to the server in parts (tus 1.0), which goes on where it stopped: after a pause, after
// the connection broke, and after the page was closed, when the same file is chosen again.

import { csrfToken } from "../csrf.js";
import "../vendor/tus-js-client/tus.min.js"; // an old-fashioned script: it sets window.tus

const CHUNK = 8 * 1024 * 1024;
const RETRY_AFTER = [0, 1000, 2000, 4000, 8000, 15000, 30000, 30000, 30000, 30000, 30000, 30000];
const WINDOW = 5000; // milliseconds of which the speed is the mean
const GONE = [404, 410]; // of an upload that must be begun anew
const SIGNED_OUT = 401;
const WORTH_RETRYING = [0, 408, 409, 423, 429];

export class ResumableUpload {
  /**
   * @param told endpoint; `changed(upload)` is called whenever there is something else to show
   *
   * `state` is sending, paused, waiting (for the connection), failed or done; `problem` says why it failed.
   */
  constructor(file, { endpoint, changed }) {
    Object.assign(this, { file, state: "sending", sent: 0, total: file.size, problem: "", speed: 0, changed });
    this.seen = [];
    this.upload = new window.tus.Upload(file, {
      endpoint: new URL(endpoint, location.href).href,
      chunkSize: CHUNK,
      retryDelays: RETRY_AFTER,
      metadata: { filename: file.name, filetype: file.type },
      removeFingerprintOnSuccess: false, // until it is imported, to find it again
      onBeforeRequest: (request) => this.asks(request),
      onAfterResponse: (request, response) => this.answered(request, response),
      onUploadUrlAvailable: () => this.created(),
      onShouldRetry: (error) => this.shouldRetry(error),
      onProgress: (sent) => this.progress(sent),
      onSuccess: () => this.became("done"),
      onError: (error) => this.failed(error),
    });
    this.online = () => this.state === "waiting" && this.again();
    addEventListener("online", this.online);
  }

  async start() {
    const earlier = await this.upload.findPreviousUploads();
    earlier.sort((one, other) => other.creationTime.localeCompare(one.creationTime));
    if (earlier.length) this.upload.resumeFromPreviousUpload(earlier[0]);
    this.again();
  }

  /** What the server calls it. */
  get id() {
    return new URL(this.upload.url).pathname.split("/").filter(Boolean).at(-1);
  }

  get secondsLeft() {
    return this.speed ? (this.total - this.sent) / this.speed : null;
  }

  async pause() {
    this.became("paused");
    await this.stop({ remove: false });
  }

  /** An upload that is just being made is not broken off: nobody would know its address to go on, or to remove it. */
  async stop(how) {
    if (this.creating) this.stopping = how;
    else await this.upload.abort(how.remove);
  }

  asks(request) {
    this.creating = request.getMethod() === "POST";
    request.setHeader("X-CSRFToken", csrfToken());
  }

  created() {
    this.creating = false;
    if (this.stopping) this.upload.abort(this.stopping.remove).catch(() => {});
    this.stopping = null;
  }

  /** Go on at once, whatever it waits for. */
  async again() {
    if (this.creating) {
      this.stopping = null;
      return this.became("sending");
    }
    await this.upload.abort();
    this.seen = [];
    this.speed = 0;
    this.became("sending");
    this.upload.start();
  }

  /** Stop, and have the server remove what it got. */
  async discard() {
    removeEventListener("online", this.online);
    this.changed = () => {};
    const complete = this.state === "done";
    await this.stop({ remove: true }).catch(() => {}); // it expires by itself
    if (complete) await this.forget();
  }

  /** Its file has been imported: the same one, chosen again, is another upload. */
  async forget() {
    removeEventListener("online", this.online);
    for (const { urlStorageKey } of await this.upload.findPreviousUploads()) localStorage.removeItem(urlStorageKey);
  }

  answered(request, response) {
    const status = response.getStatus();
    // The library begins anew after any refusal of a HEAD; only for an upload that is gone that is right.
    if (request.getMethod() === "HEAD" && status >= 300 && status !== 423 && !GONE.includes(status)) {
      throw Object.assign(new Error(`status ${status}`), { status });
    }
  }

  shouldRetry(error) {
    this.creating = false;
    if (this.state === "paused") return false;
    const status = statusOf(error);
    if (status < 500 && !WORTH_RETRYING.includes(status)) return false;
    if (status === 507 || status === 501) return false;
    this.because = status ? "The server has trouble" : "The connection broke";
    this.seen = [];
    this.speed = 0;
    this.became("waiting");
    return true;
  }

  progress(sent) {
    const now = performance.now();
    this.seen = [...this.seen.filter((point) => now - point.at < WINDOW), { at: now, sent }];
    const [first] = this.seen;
    this.speed = now - first.at > 300 ? ((sent - first.sent) / (now - first.at)) * 1000 : 0;
    this.sent = sent;
    if (this.state === "waiting") this.state = "sending";
    this.changed(this);
  }

  failed(error) {
    this.creating = false;
    if (this.state === "paused") return;
    const status = statusOf(error);
    this.problem = (status !== SIGNED_OUT && problemOf(error)) || wordsFor(status);
    this.became("failed");
  }

  became(state) {
    this.state = state;
    if (state === "done") {
      this.sent = this.total;
      removeEventListener("online", this.online);
    }
    this.changed(this);
  }
}

/** Of an answer that was no success; 0 if there was none. */
function statusOf(error) {
  return error.originalResponse?.getStatus() ?? error.causingError?.status ?? 0;
}

/** The server's own words (RFC 9457). */
function problemOf(error) {
  try {
    return JSON.parse(error.originalResponse?.getBody() ?? "").detail ?? "";
  } catch {
    return "";
  }
}

export function wordsFor(status) {
  if (status === SIGNED_OUT) return "You are not logged in any more. Log in in another tab, then try again here.";
  if (status) return `The server could not take it (status ${status}). What it has so far is kept.`;
  return "There is no connection to the server. What it has so far is kept.";
}

/** Uploads of this browser that were begun and neither imported nor given up: {name, size, offset, forget()}. */
export async function unfinishedUploads() {
  const found = [];
  for (const key of Object.keys(localStorage).filter((each) => each.startsWith("tus::"))) {
    const { uploadUrl, metadata, size } = parsed(localStorage.getItem(key));
    const forget = () => localStorage.removeItem(key);
    if (!uploadUrl) continue;
    const answer = await fetch(uploadUrl, { method: "HEAD", headers: { "Tus-Resumable": "1.0.0" } }).catch(() => null);
    if (answer && GONE.includes(answer.status)) forget();
    if (!answer?.ok) continue;
    found.push({ name: metadata?.filename ?? "", size, offset: Number(answer.headers.get("Upload-Offset")), url: uploadUrl, forget });
  }
  return found;
}

function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
