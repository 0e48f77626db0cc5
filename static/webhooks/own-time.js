// Times are shown in the reader's own zone, so they are typed in it too. What is sent stays UTC.

for (const typed of document.querySelectorAll("input[type=datetime-local]")) {
  const sent = document.createElement("input");
  sent.type = "hidden";
  sent.name = typed.name;
  typed.removeAttribute("name");
  typed.after(sent);
  for (const words of typed.parentElement.childNodes) {
    if (words.nodeType === Node.TEXT_NODE) words.data = words.data.replace("(UTC)", "(your time)");
  }
  const convert = () => {
    sent.value = typed.value ? new Date(typed.value).toISOString().slice(0, 16) : "";
  };
  typed.addEventListener("input", convert);
  convert(); // what the browser remembers of a page that is gone back to
}
