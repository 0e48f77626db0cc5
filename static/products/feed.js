// The state of one import, by WebSocket where that works and by asking every 2 seconds where not.
//
// Statuses: "live", "polling" (the socket never opened), "reconnecting" (it was lost),
// "offline" (nothing answers), and for good: "signed-out", "gone".

const POLL_EVERY = 2000;
const SOCKET_PATIENCE = 3000; // a socket that takes longer to open gets polling beside it
const SILENCE = 6000; // an open socket that says nothing for so long is checked by asking
const LONGEST_PAUSE = 30000;
const CLOSE_SIGNED_OUT = [4401, 4403];
const CLOSE_GONE = 4404;

export class Feed {
  constructor({ socket, poll, onDocument, onStatus }) {
    Object.assign(this, { socketUrl: socket, pollUrl: poll, onDocument, onStatus });
    this.failures = 0;
    this.wasLive = false;
    this.stopped = false;
  }

  start() {
    this.connect();
    this.watch = setInterval(() => {
      if (this.open && performance.now() - this.heard > SILENCE) this.ask();
    }, SILENCE);
  }

  stop() {
    this.stopped = true;
    clearInterval(this.watch);
    clearTimeout(this.retry);
    clearTimeout(this.patience);
    this.stopPolling();
    this.socket?.close();
  }

  get open() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    if (this.stopped) return;
    try {
      this.socket = new WebSocket(this.socketUrl);
    } catch {
      return this.lost(); // the browser refuses the address, such as ws: on an https: page
    }
    this.patience = setTimeout(() => this.startPolling(), SOCKET_PATIENCE);
    this.socket.onopen = () => {
      this.wasLive = true;
      this.heard = performance.now();
      clearTimeout(this.patience);
      this.stopPolling();
      this.onStatus("live");
    };
    this.socket.onmessage = (event) => {
      this.failures = 0;
      this.heard = performance.now();
      this.onDocument(JSON.parse(event.data));
    };
    this.socket.onclose = (event) => this.lost(event.code);
  }

  lost(code) {
    clearTimeout(this.patience);
    if (this.stopped) return;
    if (code === CLOSE_GONE) return this.end("gone");
    if (CLOSE_SIGNED_OUT.includes(code)) return this.end("signed-out");
    this.startPolling();
    const pause = Math.min(LONGEST_PAUSE, 1000 * 2 ** this.failures++);
    this.retry = setTimeout(() => this.connect(), pause * (0.75 + Math.random() / 2));
  }

  end(status) {
    this.stop();
    this.onStatus(status);
  }

  startPolling() {
    if (this.polling || this.stopped) return;
    this.polling = setInterval(() => this.ask(), POLL_EVERY);
    this.ask();
  }

  stopPolling() {
    clearInterval(this.polling);
    this.polling = null;
  }

  async ask() {
    let answer;
    let found;
    try {
      answer = await fetch(this.pollUrl, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(8000) });
      if (answer.ok) found = await answer.json();
    } catch {
      answer = null;
    }
    if (this.stopped) return;
    if (answer?.status === 404) return this.end("gone");
    if (answer?.status === 401 || answer?.status === 403) return this.end("signed-out");
    if (found) this.onDocument(found);
    if (this.polling) this.onStatus(found ? (this.wasLive ? "reconnecting" : "polling") : "offline");
  }
}
