// <column-mapping>: one row for each column of a file, and where it goes.

import { grouped } from "./figures.js";

const LEAVE_OUT = "";
const AS_ATTRIBUTE = "attribute";
const SAMPLES = 3;
const SAMPLE_LENGTH = 40;

/** The header without what people vary in it, as `fold` of products/importing/columns.py. */
export function fold(header) {
  return header.toLowerCase().replace(/[-_\s]+/g, "");
}

/** What a column is called: by its header or, where it has none, by its place. */
export function columnName(header, position) {
  return header[position].trim() || `(column ${position + 1})`;
}

/** The share of rows that have something in each column. */
export function fillRates(rows, width) {
  const filled = new Array(width).fill(0);
  for (const { cells } of rows) {
    for (let at = 0; at < width; at += 1) filled[at] += (cells[at] ?? "").trim() !== "";
  }
  return filled.map((count) => (rows.length ? count / rows.length : 0));
}

/** The first different values of a column. */
export function samplesOf(rows, position) {
  const found = new Set();
  for (const { cells } of rows) {
    const value = (cells[position] ?? "").trim();
    if (value) found.add(value.length > SAMPLE_LENGTH ? `${value.slice(0, SAMPLE_LENGTH - 1)}…` : value);
    if (found.size === SAMPLES) break;
  }
  return [...found];
}

/** What is wrong with where columns go: sentences, each with the position it belongs to (or none). */
export function mappingProblems(names, targets, { attribute, limit }) {
  const problems = [];
  const seen = new Map();
  targets.forEach((target, position) => {
    if (!target) return;
    if (target.startsWith(attribute)) {
      const name = target.slice(attribute.length);
      if (!name.trim()) problems.push({ position, words: `Give the attribute for “${names[position]}” a name.` });
      else if (name.length > limit || /\p{C}/u.test(name)) {
        problems.push({ position, words: `An attribute's name has 1 to ${limit} printable characters.` });
      }
    }
    const known = seen.get(target.trim());
    if (known === undefined) return seen.set(target.trim(), position);
    const what = target.startsWith(attribute) ? `the attribute ${target.slice(attribute.length)}` : target;
    const words =
      names[known] === names[position]
        ? `Two columns are called “${names[position]}”, so they can't be told apart. Rename one of them, or leave them out.`
        : `“${names[known]}” and “${names[position]}” both go to ${what}. Choose something else for one of them.`;
    problems.push({ position, words });
  });
  if (!targets.includes("sku")) {
    problems.push({ position: null, words: "No column is the sku yet. Choose the one that identifies each product." });
  }
  return problems;
}

export class ColumnMapping extends HTMLElement {
  /** @param rules what products/pages.py says of the columns */
  show(read, rules, proposal = {}) {
    this.rules = rules;
    this.names = read.header.map((_, position) => columnName(read.header, position));
    this.proposed = this.names.map((name) => proposal[name] ?? rules.by_header[fold(name)] ?? LEAVE_OUT);
    this.targets = [...this.proposed];
    this.rows = this.names.map((name, position) => this.row(name, position));
    const titles = ["Column", "Filled", "Begins with", "Goes to"].map((words) => element("th", { scope: "col" }, words));
    const head = element("thead", {}, element("tr", {}, ...titles));
    const table = element("table", { className: "cards mapping" }, head, element("tbody", {}, ...this.rows));
    this.messages = element("ul", { className: "errorlist", id: "mapping-problems" });
    const live = element("div", {}, this.messages);
    live.setAttribute("role", "status");
    const all = element("button", { type: "button", className: "plain small" }, "Keep the others as attributes");
    all.addEventListener("click", () => this.keepTheOthers());
    // Above the table: who has forty columns would not see below it that most of them are left out.
    this.leftOut = element("span", {});
    this.others = element("p", { className: "others" }, this.leftOut, " ", all);
    this.replaceChildren(this.others, element("div", { className: "scroll" }, table), live);
    this.update(read);
    this.refresh();
  }

  /** What stands in the columns, as it reads now. */
  update(read) {
    const rates = fillRates(read.rows, this.names.length);
    this.rows.forEach((row, position) => {
      const samples = samplesOf(read.rows, position);
      row.querySelector(".filled").textContent = `${grouped(Math.floor(rates[position] * 100))} %`;
      row.querySelector(".cell").replaceChildren(samples.length ? samples.join(" · ") : element("span", { className: "quiet" }, "nothing"));
    });
  }

  row(name, position) {
    const select = element("select", { id: `target-${position}` });
    select.setAttribute("aria-label", `Where ${name} goes`);
    const choices = [...this.rules.names.map((each) => [each, each]), [AS_ATTRIBUTE, "keep as attribute"], [LEAVE_OUT, "leave out"]];
    for (const [value, words] of choices) select.append(new Option(words, value));
    const input = element("input", { type: "text", maxLength: this.rules.attribute_name_limit, autocomplete: "off", spellcheck: false });
    input.setAttribute("aria-label", `Name of the attribute for ${name}`);
    input.value = name;
    const choose = () => this.choose(position, select.value === AS_ATTRIBUTE ? this.rules.attribute + input.value : select.value);
    select.addEventListener("change", choose);
    input.addEventListener("input", choose);
    const cells = [
      element("th", { scope: "row", className: "name" }, name),
      labelled("Filled", element("td", { className: "right filled" })),
      labelled("Begins with", element("td", { className: "cell" })),
      element("td", {}, element("div", { className: "target" }, select, input)),
    ];
    return element("tr", {}, ...cells);
  }

  /** Two columns of one name go to one place: a mapping knows them by their names. */
  choose(position, target) {
    this.names.forEach((name, other) => name === this.names[position] && (this.targets[other] = target));
    this.touched = true;
    this.refresh(position);
    this.dispatchEvent(new Event("change", { bubbles: true }));
  }

  keepTheOthers() {
    this.names.forEach((name, position) => {
      if (this.targets[position] === LEAVE_OUT) this.targets[position] = this.rules.attribute + name.slice(0, this.rules.attribute_name_limit);
    });
    this.touched = true;
    this.refresh();
    this.rows[0]?.querySelector("select").focus();
    this.dispatchEvent(new Event("change", { bubbles: true }));
  }

  refresh(writing = -1) {
    const problems = this.problems;
    this.rows.forEach((row, position) => {
      const [select, input] = [row.querySelector("select"), row.querySelector("input")];
      const target = this.targets[position];
      const isAttribute = target.startsWith(this.rules.attribute);
      select.value = isAttribute ? AS_ATTRIBUTE : target;
      input.hidden = !isAttribute;
      if (isAttribute && position !== writing) input.value = target.slice(this.rules.attribute.length);
      row.classList.toggle("out", target === LEAVE_OUT);
      const wrong = problems.some((problem) => problem.position === position);
      for (const field of [select, input]) {
        field.setAttribute("aria-invalid", String(wrong));
        if (wrong) field.setAttribute("aria-describedby", this.messages.id);
        else field.removeAttribute("aria-describedby");
      }
    });
    const words = problems.map((problem) => problem.words).join("\n");
    if (this.messages.dataset.words !== words) {
      this.messages.dataset.words = words;
      this.messages.replaceChildren(...problems.map((problem) => element("li", {}, problem.words)));
    }
    const left = this.targets.filter((target) => target === LEAVE_OUT).length;
    this.others.hidden = !left;
    this.leftOut.textContent = `${grouped(left)} of ${grouped(this.targets.length)} columns ${left === 1 ? "is" : "are"} left out.`;
  }

  get problems() {
    return mappingProblems(this.names, this.targets, { attribute: this.rules.attribute, limit: this.rules.attribute_name_limit });
  }

  /** Header -> target, of all columns. */
  get mapping() {
    return Object.fromEntries(this.names.map((name, position) => [name, this.targets[position].trim()]));
  }

  focusProblem() {
    const [first] = this.problems;
    this.rows[first?.position ?? 0]?.querySelector("select").focus();
  }
}

function labelled(label, cell) {
  cell.dataset.label = label;
  return cell;
}

export function element(tag, fields = {}, ...children) {
  const made = Object.assign(document.createElement(tag), fields);
  made.append(...children);
  return made;
}

customElements.define("column-mapping", ColumnMapping);
