// What a file is, told from its first bytes by the browser itself. No page and no network in here.
//
// The server reads the file again and its own reading counts; this one is for people to look at, so
// it is lenient where the server is strict: it shows what is odd instead of refusing it.

import { findDialect, linesOf, parseRows } from "./dialect.js";

export const HEAD_BYTES = 1 << 18;
export const ROWS_SHOWN = 20;
const SAMPLE = 1 << 16; // characters that the dialect is found by
const GUESS = "windows-1252"; // where nothing proves an encoding; the server may guess better

const EXPORT = "Export the table as CSV, and choose that.";
const UNPACK = "Unpack it, and choose the file that is inside.";
const MAGIC = [
  ["%PDF-", "a PDF document", EXPORT],
  ["\x89PNG\r\n\x1a\n", "a PNG picture", EXPORT],
  ["\xff\xd8\xff", "a JPEG picture", EXPORT],
  ["GIF87a", "a GIF picture", EXPORT],
  ["GIF89a", "a GIF picture", EXPORT],
  ["7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK],
  ["\xfd7zXZ\x00", "an xz archive", UNPACK],
  ["\x28\xb5\x2f\xfd", "a zstd archive", UNPACK],
  ["BZh91AY&SY", "a bzip2 archive", UNPACK],
  ["Rar!\x1a\x07", "a RAR archive", UNPACK],
  ["PAR1\x15", "a Parquet file", EXPORT],
  ["SQLite format 3\x00", "an SQLite database", EXPORT],
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

/** What the first bytes show: `how` is text, workbook, gzip, opaque (the server reads it) or refused (it does not). */
export function kindOf(bytes) {
  const start = latin(bytes.subarray(0, 4096));
  const known = MAGIC.find(([magic]) => start.startsWith(magic));
  if (known) return { how: "refused", words: known[1], advice: known[2] };
  if (start.startsWith("\x1f\x8b")) return { how: "gzip", words: "a gzip archive" };
  if (start.startsWith("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")) return { how: "workbook", words: "an Excel workbook (xls)" };
  if (start.startsWith("\xff\xfe\x00\x00") || start.startsWith("\x00\x00\xfe\xff")) return { how: "opaque", words: "text in UTF-32" };
  if (!start.startsWith("PK\x03\x04")) return { how: "text", words: "text" };
  if (start.includes("opendocument.spreadsheet")) return { how: "workbook", words: "an OpenDocument spreadsheet (ods)" };
  if (start.includes("xl/") || start.includes("[Content_Types].xml")) return { how: "workbook", words: "an Excel workbook" };
  return { how: "opaque", words: "a zip archive" };
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
  const some = bytes.subarray(0, Math.floor(Math.min(bytes.length, 4096) / 2) * 2);
  const zeros = [0, 0]; // at even and at odd places
  some.forEach((byte, at) => byte || (zeros[at % 2] += 1));
  const [few, many] = [...zeros].sort((one, other) => one - other);
  if (some.length >= 4 && many * 10 >= some.length && few * 50 <= some.length) return zeros[1] > zeros[0] ? "utf-16le" : "utf-16be";
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: !whole });
    return "utf-8";
  } catch {
    return GUESS;
  }
}

/**
 * How a file reads: as `told` says (encoding, delimiter, quote, headerLine; each may be missing), the rest found out.
 * `find` gives the column that goes by a header, or "".
 */
export function preview({ bytes, whole }, told, find) {
  const encoding = told.encoding || guessEncoding(bytes, whole);
  const text = new TextDecoder(encoding).decode(bytes, { stream: !whole });
  const dialect = findDialect(sampleOf(text, whole), told, find);
  const lines = linesOf(text);
  const table = lines.slice(dialect.headerLine - 1).join("");
  const { rows, odd } = parseRows(table, { ...dialect, whole, firstLine: dialect.headerLine });
  const [header, ...body] = rows;
  return {
    encoding,
    isGuess: !told.encoding && encoding === GUESS,
    delimiter: dialect.delimiter,
    quote: dialect.quote,
    headerLine: header?.line ?? null,
    header: header?.cells ?? [],
    rows: body,
    whole,
    unreadable: (text.match(/\ufffd/g) ?? []).length,
    uneven: body.find((row) => row.cells.length !== header.cells.length)?.line ?? null,
    odd,
  };
}

/** Whole lines of the beginning, as much as the server looks at. */
function sampleOf(text, whole) {
  if (whole && text.length < SAMPLE) return text;
  const start = text.slice(0, SAMPLE);
  return start.slice(0, Math.max(start.lastIndexOf("\n"), start.lastIndexOf("\r")) + 1) || start;
}

/** How many rows a file of this size has, by those of its beginning. Exact where its end was seen. */
export function rowsExpected(read, bytesRead, size) {
  if (read.whole || !bytesRead) return read.rows.length;
  return Math.round((read.rows.length * size) / bytesRead);
}
