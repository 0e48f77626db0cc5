// <in-place>: follows its own links and sends its own filters without leaving the page.
//
// Each of them leads to a page that has the same element (by its id), so that all of it works without this.

import { localTimes } from "./times.js";

class InPlace extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", (event) => this.clicked(event));
    this.addEventListener("submit", (event) => this.sent(event));
    this.addEventListener("change", (event) => event.target.matches("select") && event.target.form.requestSubmit());
  }

  clicked(event) {
    const link = event.target.closest("a[href]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    this.go(link.href, true);
  }

  sent(event) {
    event.preventDefault();
    const form = event.target;
    const wanted = [...new FormData(form)].filter(([, value]) => value !== "");
    // Not form.action: that is the field of this name.
    this.go(`${form.getAttribute("action")}?${new URLSearchParams(wanted)}`, false);
  }

  // The newest wish counts, whichever answer comes first.
  async go(address, turnsPage) {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    this.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(address, { headers: { Accept: "text/html" }, signal: asking.signal });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector(`${this.localName}#${CSS.escape(this.id)} [data-renewed]`);
      if (!answer.ok || answer.redirected || !fresh) throw new Error("no such part");
      const place = this.querySelector("[data-renewed]");
      place.replaceChildren(...fresh.childNodes);
      localTimes(place);
      if (turnsPage) place.focus({ preventScroll: true });
      if (turnsPage && this.getBoundingClientRect().top < 0) this.scrollIntoView();
    } catch {
      if (!asking.signal.aborted) location.assign(address); // the page itself says what is wrong
    } finally {
      if (this.asking === asking) this.removeAttribute("aria-busy");
    }
  }
}

customElements.define("in-place", InPlace);
