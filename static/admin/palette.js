// The palette: Ctrl-K or its button, then type; arrows choose, Enter goes, Esc closes. A combobox with a
// listbox, as the ARIA Authoring Practices describe it: the focus stays in the field.

const PAUSE = 120; // ms without a key before the server is asked

const dialog = document.getElementById("palette");
const opener = document.getElementById("palette-button");
const field = dialog?.querySelector("input");
const list = dialog?.querySelector("[role=listbox]");
const note = dialog?.querySelector(".note");
const status = dialog?.querySelector("[role=status]");
let returnTo = null;
let asked = 0;
let timer = null;

function options() {
  return [...list.querySelectorAll("[role=option]")];
}

function choose(option) {
  for (const each of options()) each.setAttribute("aria-selected", each === option);
  if (!option) return field.removeAttribute("aria-activedescendant");
  field.setAttribute("aria-activedescendant", option.id);
  option.scrollIntoView({ block: "nearest" });
}

function move(by) {
  const all = options();
  if (!all.length) return;
  const now = all.findIndex((each) => each.getAttribute("aria-selected") === "true");
  choose(all[(now + by + all.length) % all.length]);
}

function line(entry, number) {
  const option = document.createElement("a");
  option.setAttribute("role", "option");
  option.id = `palette-option-${number}`;
  option.href = entry.url;
  option.tabIndex = -1;
  const label = document.createElement("span");
  label.textContent = entry.label;
  const hint = document.createElement("span");
  hint.className = "hint";
  hint.textContent = entry.hint;
  option.append(label, " ", hint);
  option.addEventListener("pointermove", () => {
    if (option.getAttribute("aria-selected") !== "true") choose(option);
  });
  return option;
}

function show({ results, note: words }) {
  const groups = new Map();
  results.forEach((entry, number) => {
    if (!groups.has(entry.group)) {
      const group = document.createElement("div");
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", entry.group);
      const title = document.createElement("div");
      title.className = "group";
      title.setAttribute("aria-hidden", "true");
      title.textContent = entry.group;
      group.append(title);
      groups.set(entry.group, group);
    }
    groups.get(entry.group).append(line(entry, number));
  });
  list.replaceChildren(...groups.values());
  choose(options()[0]);
  const said = results.length ? words : words || "Nothing is called that.";
  note.hidden = !said;
  note.textContent = said;
  status.textContent = `${results.length} result${results.length === 1 ? "" : "s"}. ${said}`;
}

async function ask() {
  const mine = ++asked;
  const url = new URL(dialog.dataset.url, location.href);
  url.searchParams.set("q", field.value);
  try {
    const answer = await fetch(url, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(5000) });
    if (mine !== asked) return; // something else has been typed meanwhile
    if (answer.redirected) return location.reload(); // signed out: the login page says so
    if (!answer.ok) throw new Error(answer.statusText);
    show(await answer.json());
  } catch {
    if (mine === asked) show({ results: [], note: "The server does not answer. Type on to ask it again." });
  }
}

function open() {
  if (dialog.open) return;
  returnTo = document.activeElement;
  field.value = "";
  list.replaceChildren();
  note.hidden = true;
  dialog.showModal();
  field.focus();
  ask();
}

if (dialog && opener) {
  opener.hidden = false;
  if (/Mac|iP(hone|ad)/.test(navigator.platform)) opener.querySelector("kbd").textContent = "⌘ K";
  opener.addEventListener("click", open);
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    asked++;
    clearTimeout(timer);
    (returnTo?.isConnected ? returnTo : opener).focus();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  });
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    event.preventDefault();
    if (dialog.open) dialog.close();
    else open();
  });
  field.addEventListener("input", () => {
    asked++; // what is under way is about something else
    clearTimeout(timer);
    timer = setTimeout(ask, PAUSE);
  });
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      move(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter") {
      event.preventDefault();
      const chosen = list.querySelector("[aria-selected=true]");
      if (chosen) location.href = chosen.href;
    }
  });
}
