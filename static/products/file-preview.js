// What a file is, told from its first bytes by the browser itself. No page and no network in here.
//
// The server reads the file again and its own reading counts; this one is for people to look at, so
// it is lenient where the server is strict: it shows what is odd instead of refusing it.

export const HEAD_BYTES = 1 << 18;
export const ROWS_SHOWN = 20;
const DELIMITERS = [",", ";", "\t", "|"]; // in order of preference, as on the server
const MERIT_ROWS = 100;
const HEADER_WITHIN = 30;

const MAGIC = [
  ["%PDF-", "a PDF document", "picture"],
  ["\x89PNG\r\n\x1a\n", "a PNG picture", "picture"],
  ["\xff\xd8\xff", "a JPEG picture", "picture"],
  ["GIF87a", "a GIF picture", "picture"],
  ["GIF89a", "a GIF picture", "picture"],
  ["\x1f\x8b", "a gzip archive", "gzip"],
  ["7z\xbc\xaf\x27\x1c", "a 7z archive", "opaque"],
  ["\xfd7zXZ\x00", "an xz archive", "opaque"],
  ["\x28\xb5\x2f\xfd", "a zstd archive", "opaque"],
  ["BZh", "a bzip2 archive", "opaque"],
  ["Rar!\x1a\x07", "a RAR archive", "opaque"],
  ["\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (xls)", "opaque"],
  ["PAR1", "a Parquet file", "opaque"],
];

/** The first bytes of a file; of a gzip archive, of what is in it. `whole`: there is no more than these. */
export async function readHead(file) {
  const bytes = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  const packed = { kind: kindOf(bytes), bytes, whole: file.size <= bytes.length, packed: false };
  if (packed.kind.how !== "gzip" || !("DecompressionStream" in globalThis)) return packed;
  const inside = await unpacked(bytes);
  if (!inside.bytes.length) return packed;
  return { kind: kindOf(inside.bytes), ...inside, whole: inside.whole && packed.whole, packed: true };
}

async function unpacked(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const reader = stream.getReader();
  const parts = [];
  let length = 0;
  let whole = false;
  try {
    while (length < HEAD_BYTES) {
      const { done, value } = await reader.read();
      if (done) {
        whole = true;
        break;
      }
      parts.push(value);
      length += value.length;
    }
    if (!whole) reader.cancel().catch(() => {});
  } catch {
    // The head of an archive ends in its middle; what came out until then is good.
  }
  const joined = new Uint8Array(length);
  parts.reduce((at, part) => (joined.set(part, at), at + part.length), 0);
  return { bytes: joined, whole };
}

/** What the first bytes show: `how` is text, workbook, gzip, opaque (the server may know) or picture (nobody does). */
export function kindOf(bytes) {
  const start = latin(bytes.subarray(0, 4096));
  if (start.startsWith("PK\x03\x04")) {
    const isBook = start.includes("xl/") || start.includes("[Content_Types].xml");
    if (isBook) return { how: "workbook", words: "an Excel workbook (xlsx)" };
    if (start.includes("opendocument.spreadsheet")) return { how: "workbook", words: "an OpenDocument spreadsheet (ods)" };
    return { how: "opaque", words: "a zip archive" };
  }
  const known = MAGIC.find(([magic]) => start.startsWith(magic));
  return known ? { how: known[2], words: known[1] } : { how: "text", words: "text" };
}

function latin(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

export function guessEncoding(bytes, whole) {
  const start = latin(bytes.subarray(0, 3));
  if (start.startsWith("\xef\xbb\xbf")) return "utf-8";
  if (start.startsWith("\xff\xfe")) return "utf-16le";
  if (start.startsWith("\xfe\xff")) return "utf-16be";
  const some = bytes.subarray(0, 200);
  const zeros = [0, 0]; // at even and at odd places
  some.forEach((byte, at) => byte || (zeros[at % 2] += 1));
  if (zeros[1] > some.length * 0.35) return "utf-16le";
  if (zeros[0] > some.length * 0.35) return "utf-16be";
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: !whole });
    return "utf-8";
  } catch {
    return "windows-1252";
  }
}

/**
 * The rows of a text with the line each starts on. What the text ends in the middle of is left out, unless
 * it is the whole file. `odd` has the line of a quotation mark that is never closed, or is in the wrong place.
 */
export function parseRows(text, { delimiter, quote = '"', whole = true, limit = Infinity }) {
  const rows = [];
  let odd = null;
  let [at, line] = [0, 1];
  const end = text.length;
  while (at < end && rows.length < limit) {
    const row = { line, cells: [] };
    let ended = false;
    while (!ended) {
      let cell = "";
      if (quote && text[at] === quote) {
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
      if (at > from && cell) odd ??= { line, what: "misplaced" };
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

/** As products/importing/detect.py does it: most known columns, then most rows as wide as the header, then most cells. */
export function findDelimiter(text, find, { quote = '"', whole = true } = {}) {
  let best = null;
  for (const delimiter of DELIMITERS) {
    const merit = meritOf(parseRows(text, { delimiter, quote, whole, limit: MERIT_ROWS }).rows, find);
    if (!best || isGreater(merit, best.merit)) best = { delimiter, merit };
  }
  return best.delimiter;
}

function meritOf(rows, find) {
  if (!rows.length) return [0, 0, 0];
  const header = rows[headerAt(rows, find)].cells;
  const known = new Set(header.map(find).filter(Boolean)).size;
  if (header.length === 1) return [known, 0, 1];
  return [known, rows.filter((row) => row.cells.length === header.length).length / rows.length, header.length];
}

function isGreater(merit, other) {
  const at = merit.findIndex((value, index) => value !== other[index]);
  return at >= 0 && merit[at] > other[at];
}

/** Which row names the columns: the first that names a sku among the first few, else the very first. */
function headerAt(rows, find) {
  const found = rows.slice(0, HEADER_WITHIN).findIndex((row) => row.cells.some((cell) => find(cell) === "sku"));
  return Math.max(found, 0);
}

/**
 * How a file reads: as `told` says (encoding, delimiter, quote, headerLine; each may be missing), the rest found out.
 * `find` gives the column that goes by a header, or "".
 */
export function preview({ bytes, whole }, told, find) {
  const encoding = told.encoding || guessEncoding(bytes, whole);
  const text = new TextDecoder(encoding).decode(bytes, { stream: !whole });
  const quote = told.quote ?? '"';
  const delimiter = told.delimiter || findDelimiter(text, find, { quote, whole });
  const { rows, odd } = parseRows(text, { delimiter, quote, whole });
  const at = told.headerLine ? rows.findIndex((row) => row.line >= told.headerLine) : headerAt(rows, find);
  const header = at >= 0 ? rows[at] : undefined;
  const body = header ? rows.slice(at + 1) : [];
  return {
    encoding,
    delimiter,
    quote,
    headerLine: header?.line ?? null,
    header: header?.cells ?? [],
    rows: body,
    whole,
    unreadable: (text.match(/\ufffd/g) ?? []).length,
    uneven: body.find((row) => row.cells.length !== header.cells.length)?.line ?? null,
    odd,
  };
}

/** How many rows a file of this size has, by those of its beginning. Exact where its end was seen. */
export function rowsExpected(read, bytesRead, size) {
  if (read.whole || !bytesRead) return read.rows.length;
  return Math.round((read.rows.length * size) / bytesRead);
}
