// A button beside a secret that is shown once, which copies it.

for (const code of document.querySelectorAll("code.secret")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      // The browser does not let us: then it is one key for the person.
      getSelection().selectAllChildren(code);
      button.textContent = "Selected: copy it with the keyboard";
    }
  });
  if (navigator.clipboard) code.after(" ", button);
}
