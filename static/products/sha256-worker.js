// Reads a file beside the page, so that the page stays quick: a File comes in, its SHA-256 goes out.

import { Sha256 } from "./sha256.js";

const PART = 1 << 22;

addEventListener("message", async ({ data: file }) => {
  const hash = new Sha256();
  for (let at = 0; at < file.size; at += PART) {
    hash.update(new Uint8Array(await file.slice(at, at + PART).arrayBuffer()));
  }
  postMessage(hash.digest());
});
