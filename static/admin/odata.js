// On every page of the admin: times in the reader's own zone, and the menu of narrow screens.

import "../forms.js";
import { localTimes } from "../products/times.js";

localTimes(document);

// Django names the hints of its filters by a label that their element may not have.
addEventListener("load", () => setTimeout(() => {
  for (const hint of document.querySelectorAll(".help-tooltip[aria-label]")) hint.setAttribute("role", "img");
}));

const button = document.getElementById("menu-button");
const menu = document.getElementById("sidebar");
if (button && menu) {
  button.hidden = false;
  document.body.classList.add("menu-folds"); // without scripts the menu of a narrow screen stays open
  const show = (open) => {
    button.setAttribute("aria-expanded", open);
    document.body.classList.toggle("menu-open", open);
  };
  button.addEventListener("click", () => show(button.getAttribute("aria-expanded") !== "true"));
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    show(false);
    button.focus();
  });
}
