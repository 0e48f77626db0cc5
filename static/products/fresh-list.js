// <fresh-list data-seconds="2">: renews its own content from the page it is on, or from `data-from`, while
// somebody looks.

import { localTimes } from "./times.js";

class FreshList extends HTMLElement {
  connectedCallback() {
    localTimes(this);
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
    const focused = this.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const ticked = new Set([...this.querySelectorAll("input:checked")].map((box) => box.value));
    this.dataset.seconds = fresh.dataset.seconds;
    this.replaceChildren(...fresh.childNodes);
    localTimes(this);
    for (const box of this.querySelectorAll("input[type=checkbox]")) box.checked = ticked.has(box.value);
    if (focused) this.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  }
}

customElements.define("fresh-list", FreshList);
