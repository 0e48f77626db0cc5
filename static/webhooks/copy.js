// A button beside a secret that is shown once, which copies it.

for (const code of document.querySelectorAll("code.secret")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  });
  if (navigator.clipboard) code.after(" ", button);
}
