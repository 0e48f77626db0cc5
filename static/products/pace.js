// How fast an import goes, and how long it may take yet, out of what was seen in the last seconds.

const WINDOW = 15; // seconds that are looked back
const SMOOTHED = 3; // seconds over which a rate is taken
const SHORTEST = 1.5; // seconds that must have been seen before anything is foretold
const KEPT = 600; // samples: two and a half minutes at four a second, then every other one goes

export class Pace {
  constructor() {
    this.samples = []; // {at, percent, read, settled}, at in seconds
    this.rates = []; // {at, read, settled} in rows per second
  }

  // A later attempt begins anew: its numbers have nothing to do with those before.
  add(at, { percent, rows_read: read, settled, attempt }) {
    const last = this.samples.at(-1);
    if (last && (attempt !== last.attempt || percent < last.percent || read < last.read)) this.samples = [];
    this.samples.push({ at, percent, read, settled, attempt });
    if (last && this.samples.length > 1 && at - (this.rates.at(-1)?.at ?? this.samples[0].at) >= 0.45) this.rate(at);
    if (this.samples.length > KEPT) this.samples = this.samples.filter((_, index) => index % 2);
    if (this.rates.length > KEPT) this.rates = this.rates.filter((_, index) => index % 2);
  }

  // Over some seconds: rows are written by the chunk, about one in a second, and each would be a tooth.
  rate(at) {
    const now = this.samples.at(-1);
    const from = this.samples.findLast((sample) => at - sample.at >= SMOOTHED) ?? this.samples[0];
    const seconds = now.at - from.at;
    if (seconds <= 0) return;
    this.rates.push({
      at,
      read: Math.max(0, (now.read - from.read) / seconds),
      settled: Math.max(0, (now.settled - from.settled) / seconds),
    });
  }

  // Seconds that are left, at best and at worst: if it goes on as in the fastest and in the slowest part of
  // the window. null while too little was seen, or while nothing moves.
  left() {
    const now = this.samples.at(-1);
    const seen = this.samples.filter((sample) => now.at - sample.at <= WINDOW);
    if (seen.length < 3 || now.at - seen[0].at < SHORTEST) return null;
    const speeds = [1, 0.66, 0.33]
      .map((part) => seen.find((sample) => now.at - sample.at <= (now.at - seen[0].at) * part))
      .filter((sample) => now.at - sample.at >= 0.5)
      .map((sample) => (now.percent - sample.percent) / (now.at - sample.at));
    const [slowest, fastest] = [Math.min(...speeds), Math.max(...speeds)];
    if (!(fastest > 0)) return null;
    const open = 100 - now.percent;
    return [(open / fastest) * 0.9, (open / Math.max(slowest, fastest / 4)) * 1.15];
  }
}

// "20–35 s": as exact as it deserves. products/templatetags/figures.py has the same words.
export function likely([low, high]) {
  if (high < 5) return "a few seconds";
  const [unit, word] = low >= 90 ? [60, "min"] : [1, "s"];
  const step = low / unit >= 10 ? 5 * unit : unit;
  return `${(Math.round(low / step) * step) / unit}–${(Math.ceil(high / step) * step) / unit} ${word}`;
}
