// On every page: a form that changes something is sent once, however often its button is pressed, and with the token
// that counts now: a login in another tab has made a new one. And times are shown in their reader's own zone.

import { csrfToken } from "./csrf.js";
import { localTimes } from "./products/times.js";

const PATIENCE = 10_000; // milliseconds after which one whose answer does not come may be sent again

const sent = new WeakMap();

localTimes(document);

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.getAttribute("method")?.toLowerCase() !== "post") return;
  const now = performance.now();
  if (now - sent.get(form) < PATIENCE) return event.preventDefault();
  sent.set(form, now);
  const token = form.querySelector("[name=csrfmiddlewaretoken]");
  if (token && csrfToken()) token.value = csrfToken();
});
addEventListener("pageshow", (event) => {
  if (event.persisted) for (const form of document.forms) sent.delete(form);
});
