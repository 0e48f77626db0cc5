// The page of one product: attributes as names and values, and older changes without a new page.

import { localTimes } from "../products/times.js";

// --- attributes: a textarea with JSON, shown as rows where it holds nothing but names and texts -----------------

function button(words, label) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "plain-button";
  made.textContent = words;
  if (label) made.setAttribute("aria-label", label);
  return made;
}

class Attributes {
  constructor(area) {
    this.area = area;
    this.rows = document.createElement("div");
    this.rows.className = "attribute-rows";
    this.add = button("Add an attribute");
    this.toggle = button("Edit as JSON");
    this.bar = document.createElement("p");
    this.bar.className = "attribute-bar";
    this.bar.append(this.add, this.toggle);
    const whole = document.createElement("div");
    whole.className = "attribute-editor";
    area.before(whole);
    whole.append(this.rows, area, this.bar);
    this.add.addEventListener("click", () => this.row("", "").querySelector("input").focus());
    this.toggle.addEventListener("click", () => (this.area.hidden ? this.asText() : this.asRows()));
    this.asRows();
  }

  read() {
    try {
      const found = JSON.parse(this.area.value || "{}");
      const flat = found && !Array.isArray(found) && Object.values(found).every((each) => typeof each === "string");
      return flat ? found : null;
    } catch {
      return null;
    }
  }

  asRows() {
    const found = this.read();
    if (!found) return this.asText(); // numbers, lists and the like stay JSON
    this.rows.replaceChildren();
    for (const [name, value] of Object.entries(found)) this.row(name, value);
    this.show(true);
  }

  asText() {
    this.show(false);
  }

  show(rows) {
    this.area.hidden = rows;
    this.rows.hidden = this.add.hidden = !rows;
    this.toggle.textContent = rows ? "Edit as JSON" : "Edit as rows";
    this.toggle.hidden = !rows && !this.read();
    if (!rows) this.area.addEventListener("input", () => (this.toggle.hidden = !this.read()));
  }

  row(name, value) {
    const line = document.createElement("div");
    const remove = button("Remove", `Remove the attribute ${name}`);
    const [key, text] = [["Name of the attribute", name], ["Value", value]].map(([label, content]) => {
      const input = Object.assign(document.createElement("input"), { type: "text", value: content, placeholder: label });
      input.setAttribute("aria-label", label);
      input.addEventListener("input", () => this.write());
      return input;
    });
    remove.addEventListener("click", () => {
      line.remove();
      this.write();
      this.add.focus();
    });
    line.append(key, text, remove);
    this.rows.append(line);
    return line;
  }

  write() {
    const pairs = [...this.rows.children].map((line) => [...line.querySelectorAll("input")].map((each) => each.value));
    const entries = pairs.filter(([name]) => name.trim()).map(([name, value]) => [name.trim(), value]);
    this.area.value = JSON.stringify(Object.fromEntries(entries), null, 2);
  }
}

for (const area of document.querySelectorAll("textarea.attributes")) new Attributes(area);

// --- older changes ------------------------------------------------------------------------------------------------

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-older]");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  link.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(link.href, { headers: { Accept: "text/html" } });
    if (answer.redirected || !answer.ok) return location.reload();
    const older = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(".timeline");
    localTimes(older);
    const here = link.closest(".timeline");
    const first = older.querySelector("tbody tr");
    here.querySelector("tbody").append(...older.querySelectorAll("tbody tr"));
    const next = older.querySelector("a[data-older]");
    if (next) link.href = next.href;
    link.removeAttribute("aria-busy");
    if (!next) link.parentElement.remove();
    if (first) {
      first.tabIndex = -1;
      first.focus();
    }
  } catch {
    link.removeAttribute("aria-busy");
    link.textContent = "The server does not answer. Try again";
  }
});
