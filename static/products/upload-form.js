// <upload-form>: the same form, sent by script so that the sending can be watched and stopped.

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

function size(bytes) {
  let unit = 0;
  while (bytes >= 1000 && unit < UNITS.length - 1) [bytes, unit] = [bytes / 1000, unit + 1];
  return `${bytes.toLocaleString("en", { minimumFractionDigits: unit ? 1 : 0, maximumFractionDigits: unit ? 1 : 0 })} ${UNITS[unit]}`;
}

class UploadForm extends HTMLElement {
  connectedCallback() {
    this.form = this.querySelector("form");
    this.file = this.querySelector("input[type=file]");
    this.drop = this.querySelector(".drop");
    this.bar = this.querySelector("progress");
    this.querySelector("[data-drop-hint]").hidden = false;
    this.file.addEventListener("change", () => this.chosen());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.querySelector("[data-stop]").addEventListener("click", () => this.request?.abort());
    this.takeDrops();
    addEventListener("beforeunload", (event) => this.request && event.preventDefault());
    this.chosen(); // a browser may have kept the choice over a reload
  }

  takeDrops() {
    for (const kind of ["dragenter", "dragover"]) {
      this.form.addEventListener(kind, (event) => {
        event.preventDefault();
        this.drop.classList.add("over");
      });
    }
    this.form.addEventListener("dragleave", (event) => {
      if (!this.form.contains(event.relatedTarget)) this.drop.classList.remove("over");
    });
    this.form.addEventListener("drop", (event) => {
      event.preventDefault();
      this.drop.classList.remove("over");
      if (this.request || !event.dataTransfer.files.length) return;
      this.file.files = event.dataTransfer.files;
      this.chosen();
    });
  }

  chosen() {
    const [file] = this.file.files;
    this.querySelector("[data-chosen]").textContent = file ? `${file.name} · ${size(file.size)}` : "";
    this.problem(file && this.refusal(file));
  }

  refusal(file) {
    const limit = Number(this.dataset.maxBytes);
    if (file.size > limit) {
      return `${file.name} has ${size(file.size)}, more than the ${size(limit)} this server takes. Split it: each part needs the header row.`;
    }
    if (file.size === 0) return `${file.name} is empty. Choose a file with a header row and products.`;
    return "";
  }

  problem(words) {
    const place = this.querySelector("[data-problem]");
    place.replaceChildren();
    if (!words) return;
    const note = document.createElement("p");
    note.className = "note error";
    note.textContent = words;
    place.append(note);
  }

  send() {
    const [file] = this.file.files;
    const words = this.refusal(file);
    if (words) return this.problem(words);
    this.problem("");
    this.began = performance.now();
    this.request = new XMLHttpRequest();
    this.request.open("POST", this.form.action);
    this.request.responseType = "document";
    this.request.upload.onprogress = (event) => this.sent(event.loaded, event.total);
    this.request.onload = () => this.answered(this.request);
    this.request.onerror = () => this.ended("The connection broke before the file was through. Nothing was imported; please try again.");
    this.request.onabort = () => this.ended("Stopped. Nothing was imported.");
    this.request.send(new FormData(this.form));
    this.busy(true);
    this.sent(0, file.size);
  }

  sent(loaded, total) {
    const seconds = (performance.now() - this.began) / 1000;
    const speed = seconds > 0.2 ? `, ${size(loaded / seconds)}/s` : "";
    this.bar.max = total || 1;
    this.bar.value = loaded;
    this.querySelector("[data-sent]").textContent =
      loaded < total ? `${size(loaded)} of ${size(total)}${speed}` : `${size(total)} sent, waiting for the answer`;
  }

  answered(request) {
    this.request = null;
    if (request.status === 200) return location.assign(request.responseURL); // the page of the new import
    const problem = request.response?.querySelector("[data-problem]");
    if (!problem?.children.length) {
      return this.ended(`The server could not take the file (status ${request.status}). Nothing was imported; please try again.`);
    }
    this.ended("");
    this.querySelector("[data-problem]").replaceChildren(...problem.childNodes);
    this.querySelector("[data-problem]").focus();
  }

  ended(words) {
    this.request = null;
    this.busy(false);
    this.problem(words);
  }

  busy(yes) {
    this.querySelector("[data-sending]").hidden = !yes;
    this.querySelector("[data-stop]").hidden = !yes;
    this.querySelector("[type=submit]").disabled = yes;
    for (const field of this.form.querySelectorAll("input")) field.disabled = yes;
  }
}

customElements.define("upload-form", UploadForm);
