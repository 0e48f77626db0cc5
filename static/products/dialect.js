// How the lines of a text become cells. A port of products/importing/detect.py, which decides in the end:
// the tests hold the two against each other.

const DELIMITERS = [",", ";", "\t", "|"]; // in order of preference
const RARE_DELIMITERS = ["^", "~", ":"];
const QUOTES = ['"', "'"];
const SAMPLE_ROWS = 100;
const MAX_PREAMBLE = 50;
const SEPARATOR_LINE = /^\s*"?sep=(.)"?\s*$/i;
const NUMBER = /^[-+]?[0-9][0-9.,]*$/;

/** The lines of a text with their ends. */
export function linesOf(text) {
  return text.match(/[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$/g) ?? [];
}

/**
 * The rows of a text with the line each starts on. What the text ends in the middle of is left out, unless
 * it is the whole file. `odd` has the line of a quotation mark that is never closed, or is in the wrong place;
 * `strict` stops there.
 */
export function parseRows(text, { delimiter, quote = '"', whole = true, limit = Infinity, firstLine = 1, strict = false }) {
  const rows = [];
  let odd = null;
  let [at, line] = [0, firstLine];
  const end = text.length;
  while (at < end && rows.length < limit) {
    const row = { line, cells: [] };
    let ended = false;
    while (!ended) {
      let cell = "";
      const quoted = quote && text[at] === quote;
      if (quoted) {
        const opened = line;
        at += 1;
        for (;;) {
          const close = text.indexOf(quote, at);
          if (close < 0) {
            if (whole) odd ??= { line: opened, what: "open" };
            line += lineEnds(text.slice(at));
            cell += text.slice(at);
            at = end;
            break;
          }
          cell += text.slice(at, close);
          line += lineEnds(text.slice(at, close));
          at = close + 1;
          if (text[at] !== quote) break;
          cell += quote;
          at += 1;
        }
        if (at === end && !whole) return { rows, odd };
      }
      const from = at;
      while (at < end && text[at] !== delimiter && text[at] !== "\n" && text[at] !== "\r") at += 1;
      if (at > from && quoted) odd ??= { line, what: "misplaced" };
      if (odd && strict) return { rows, odd, stoppedAt: row.line };
      row.cells.push(cell + text.slice(from, at));
      if (text[at] === delimiter) {
        at += 1;
        continue;
      }
      if (at >= end && !whole) return { rows, odd };
      if (text[at] === "\r" && text[at + 1] === "\n") at += 1;
      at += 1;
      line += 1;
      ended = true;
    }
    if (row.cells.length > 1 || row.cells[0] !== "") rows.push(row);
  }
  return { rows, odd };
}

function lineEnds(text) {
  return (text.match(/\r\n|\r|\n/g) ?? []).length;
}

/** `text` has whole lines only; what is told is taken as it is. `find` gives the column of a header, or "". */
export function findDialect(text, { delimiter, quote, headerLine } = {}, find) {
  const all = linesOf(text);
  let skipped = (headerLine || 1) - 1;
  let wanted = delimiter;
  if (!headerLine) {
    const separator = separatorLine(all);
    skipped = separator.skipped;
    wanted ||= separator.delimiter;
  }
  const lines = all.slice(skipped);
  const declared = Boolean(headerLine);
  let best = bestOf(lines, wanted ? [wanted] : DELIMITERS, quote, declared, find);
  if (!wanted && best.cells <= 1) {
    const rare = bestOf(lines, RARE_DELIMITERS, quote, declared, find);
    if (rare.cells > 1 && rare.agreeing === 1 && (rare.known || rare.cells > 2)) best = rare;
  }
  return { delimiter: best.delimiter, quote: best.quote, headerLine: headerLine || skipped + best.headerLine };
}

function separatorLine(lines) {
  for (const [at, line] of lines.slice(0, 5).entries()) {
    const match = SEPARATOR_LINE.exec(line);
    if (match) return { skipped: at + 1, delimiter: match[1] };
    if (line.trim()) break;
  }
  return { skipped: 0 };
}

function bestOf(lines, delimiters, quote, declared, find) {
  let best = null;
  for (const delimiter of delimiters) {
    for (const mark of quote === undefined ? quotesOf(lines, delimiter) : [quote]) {
      if (mark === delimiter) continue;
      const found = judge(lines, delimiter, mark, declared, find);
      if (!best || isGreater(found, best)) best = found;
    }
  }
  return best;
}

function isGreater(one, other) {
  const merit = ["known", "agreeing", "bare", "cells"].find((name) => one[name] !== other[name]);
  return merit !== undefined && one[merit] > other[merit];
}

function quotesOf(lines, delimiter) {
  const part = delimiter.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const whole = new RegExp(`^'[^']*'(?:${part}'[^']*')*\\s*$`);
  const wrapped = new RegExp(`(?:^|${part})'(?:[^'${part}]*${part}[^']*|(?:[^'${part}]*'')+[^'${part}]*)'(?=${part}|\\s*$)`);
  const marked = lines.filter((line) => line.includes("'"));
  if (!marked.slice(0, MAX_PREAMBLE).some((line) => whole.test(line)) && !marked.some((line) => wrapped.test(line))) return ['"'];
  const usual = new RegExp(`(?:^|${part})"`);
  return lines.some((line) => usual.test(line)) ? ['"', "'"] : ["'", '"'];
}

function judge(lines, delimiter, quote, declared, find) {
  let { rows, unread } = firstRows(lines, delimiter, quote);
  if (!rows.length) {
    rows = lines.slice(0, 1).map((line) => ({ line: 1, cells: line.split(delimiter) }));
    unread = 0;
  }
  if (!rows.length) return { delimiter, quote, headerLine: 1, known: 0, agreeing: 0, bare: true, cells: 0 };
  const at = declared ? 0 : headerAt(rows, (row) => row.line > 1 && !lines[row.line - 2].trim(), find);
  const header = rows[at].cells;
  const table = rows.slice(at);
  const agreeing = header.length > 1 ? table.filter((row) => row.cells.length === header.length).length / (table.length + unread) : 0;
  const bare = !header.some((cell) => {
    const text = cell.trim();
    return text.length > 1 && text[0] === text.at(-1) && QUOTES.includes(text[0]);
  });
  const known = header.length > 1 || namesSku(header, find) ? knownNames(header, find) : 0;
  return { delimiter, quote, headerLine: rows[at].line, known, agreeing, bare, cells: header.length };
}

function firstRows(lines, delimiter, quote) {
  const { rows, stoppedAt } = parseRows(lines.join(""), { delimiter, quote, limit: SAMPLE_ROWS, strict: true });
  if (!stoppedAt) return { rows, unread: 0 };
  const left = lines.slice(stoppedAt - 1).filter((line) => line.trim()).length;
  return { rows, unread: Math.min(SAMPLE_ROWS - rows.length, left) };
}

const knownNames = (cells, find) => new Set(cells.map(find).filter(Boolean)).size;
const namesSku = (cells, find) => cells.some((cell) => find(cell) === "sku");

/** Which of the first rows names the columns: the first, unless it clearly is a title or a remark. */
function headerAt(rows, afterBlank, find) {
  if (!rows.length || namesSku(rows[0].cells, find)) return 0;
  const named = rows.slice(1, MAX_PREAMBLE).findIndex(({ cells }) => namesSku(cells, find) && knownNames(cells, find) > 1);
  if (named >= 0) return named + 1;
  const usual = usualWidth(rows);
  if (!usual) return 0;
  const isRemark = ({ cells }) =>
    cells.filter((cell) => cell.trim()).length <= 1 || (cells[0].trimStart().startsWith("#") && cells.length !== usual);
  const at = Math.max(0, rows.slice(0, MAX_PREAMBLE).findIndex((row) => row.cells.length >= usual && !isRemark(row)));
  const [before, row] = [rows.slice(0, at), rows[at]];
  const isNarrow = (each) => each.cells.length < usual;
  if (!rows.slice(at + 1).some((later) => later.cells.length === row.cells.length)) return 0;
  if (before.every((each) => isRemark(each) || (isRemark(rows[0]) && isNarrow(each)))) return at;
  const parted = afterBlank(row) && before.every(isNarrow);
  return parted && row.cells.every((cell) => cell.trim() && !NUMBER.test(cell.trim())) ? at : 0;
}

/** The width that most rows have; of several, the largest. 0 if no row has two cells. */
function usualWidth(rows) {
  const counts = new Map();
  for (const { cells } of rows) if (cells.length > 1) counts.set(cells.length, (counts.get(cells.length) ?? 0) + 1);
  const [best] = [...counts].sort(([width, count], [other, others]) => others - count || other - width);
  return best?.[0] ?? 0;
}
