// The list of products: name and status edited where they stand. Enter saves, Esc gives up. The server
// refuses what would overwrite somebody else's change, and says so.

import { csrfToken } from "../csrf.js";

const STATUSES = [["active", "Active"], ["inactive", "Inactive"]];
const status = document.getElementById("edit-status");
const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function button(words, label, kind) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = kind;
  made.textContent = words;
  if (label) made.setAttribute("aria-label", label);
  return made;
}

class Row {
  constructor(holder) {
    this.holder = holder;
    this.line = holder.closest("tr");
    this.name = holder.querySelector("[data-name]");
    this.badge = this.line.querySelector(".field-shown_status .status");
    this.time = this.line.querySelector("time");
    this.opener = button("Edit", `Edit ${holder.dataset.sku}`, "edit");
    this.opener.addEventListener("click", () => this.edit());
    holder.append(this.opener);
  }

  edit() {
    const { sku, status: now } = this.holder.dataset;
    this.input = Object.assign(document.createElement("input"), { type: "text", value: this.name.textContent, maxLength: 255 });
    this.input.setAttribute("aria-label", `Name of ${sku}`);
    this.select = document.createElement("select");
    this.select.setAttribute("aria-label", `Status of ${sku}`);
    for (const [value, label] of STATUSES) this.select.append(new Option(label, value, false, value === now));
    this.save = button("Save", "", "save");
    this.quit = button("Cancel", "", "quit");
    this.problem = Object.assign(document.createElement("p"), { className: "problem", hidden: true });
    this.problem.setAttribute("role", "alert");
    this.form = document.createElement("span");
    this.form.className = "editing";
    this.form.append(this.input, this.select, this.save, this.quit, this.problem);
    this.name.hidden = this.opener.hidden = true;
    this.holder.append(this.form);
    this.line.classList.add("edited");
    this.save.addEventListener("click", () => this.send());
    this.quit.addEventListener("click", () => this.close());
    this.form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
      else if (event.key === "Enter" && event.target !== this.quit) {
        event.preventDefault(); // or it would send the form around the list
        this.send();
      }
    });
    this.input.select();
  }

  close() {
    this.form.remove();
    this.name.hidden = this.opener.hidden = false;
    this.line.classList.remove("edited");
    this.opener.focus();
  }

  async send() {
    if (this.save.disabled) return;
    this.save.disabled = true;
    const body = new URLSearchParams({ name: this.input.value, status: this.select.value, version: this.holder.dataset.version });
    try {
      const answer = await fetch(this.holder.dataset.url, {
        method: "POST", body, headers: { Accept: "application/json", "X-CSRFToken": csrfToken() },
      });
      if (answer.redirected) return this.refused({ detail: "You are not logged in any more, so nothing was saved. Log in in another tab, then save again here." });
      const told = await answer.json();
      if (answer.ok) this.saved(told);
      else this.refused(told);
    } catch {
      this.refused({ detail: "The server does not answer. Nothing was saved; try again." });
    } finally {
      this.save.disabled = false;
    }
  }

  saved(product) {
    Object.assign(this.holder.dataset, { version: product.version, status: product.status });
    this.name.textContent = product.name;
    this.badge.className = `status ${product.status}`;
    this.badge.textContent = product.status_label;
    this.time.dateTime = product.updated_at;
    this.time.textContent = when.format(new Date(product.updated_at));
    this.close();
    status.textContent = `${this.holder.dataset.sku} is saved.`;
    this.line.classList.add("just-saved");
    setTimeout(() => this.line.classList.remove("just-saved"), 2000);
  }

  refused({ detail, code, errors }) {
    this.problem.hidden = false;
    this.problem.textContent = errors?.length ? errors.map((each) => each.message).join(" ") : detail;
    if (code === "changed_meanwhile") {
      const again = button("Show the new values", "", "quit");
      again.addEventListener("click", () => location.reload());
      this.problem.append(" ", again);
    }
    this.input.focus();
  }
}

for (const holder of document.querySelectorAll(".inline-edit")) new Row(holder);
