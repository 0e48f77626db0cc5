// <fresh-list data-seconds="2">: renews its own content from the page it is on, or from `data-from`, while
// somebody looks.

import { localTimes } from "./times.js";

class FreshList extends HTMLElement {
  connectedCallback() {
    localTimes(this);
    this.told = this.innerHTML;
    this.again();
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
  }

  again() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.renew(), Number(this.dataset.seconds) * 1000);
  }

  async renew() {
    if (!document.hidden) {
      try {
        const answer = await fetch(this.dataset.from || location.href, { headers: { Accept: "text/html" } });
        if (answer.redirected) return location.reload(); // signed out: the login page says so
        if (answer.ok) this.take(await answer.text());
      } catch {
        // The server is away: what is shown stays, and the next turn asks again.
      }
    }
    this.again();
  }

  take(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html").querySelector(this.localName);
    if (!fresh) return;
    this.dataset.seconds = fresh.dataset.seconds;
    localTimes(fresh);
    if (fresh.innerHTML === this.told) return; // what is being read, marked, or scrolled stays as it is
    this.told = fresh.innerHTML;
    const focused = this.contains(document.activeElement) ? known(document.activeElement) : "";
    const ticked = new Set([...this.querySelectorAll("input:checked")].map((box) => box.value));
    this.replaceChildren(...fresh.childNodes);
    for (const box of this.querySelectorAll("input[type=checkbox]")) box.checked = ticked.has(box.value);
    if (focused) this.querySelector(focused)?.focus({ preventScroll: true });
  }
}

/** The selector by which the same thing is found again: a link by where it leads, a box by what it stands for. */
function known(thing) {
  const name = thing.matches("a") ? "href" : "value";
  return thing.matches("a[href], input[value]") ? `${thing.localName}[${name}="${CSS.escape(thing.getAttribute(name))}"]` : "";
}

customElements.define("fresh-list", FreshList);
