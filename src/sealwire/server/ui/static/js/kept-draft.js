// <kept-draft path draft owner [unsaved]>: keeps what is typed into the form of the page in this tab, and
// offers it back when the page comes up without it. Kept under the path, for whoever typed it only; gone
// when it is published (the server says so in a cookie), when it is discarded, and on signing out.
import { age } from "./relative-time.js";

const PREFIX = "sealwire:draft:";
const PUBLISHED = "sealwire_published";
const MOST_CHARS = 2_000_000; // a tab keeps about five million in all
const SAVE_AFTER_MS = 400;
const GONE_ON_LOAD = ["do", "reviewed"];

function forget(keep = () => false) {
  for (const key of Object.keys(sessionStorage)) {
    if (key.startsWith(PREFIX) && !keep(key)) sessionStorage.removeItem(key);
  }
}

function published() {
  const found = document.cookie.split("; ").find((one) => one.startsWith(`${PUBLISHED}=`));
  return found ? found.slice(PUBLISHED.length + 1).split(".") : [];
}

// What is kept is of nobody any more once somebody signs out, whatever page that happens on.
document.addEventListener("submit", (event) => {
  if (event.target.getAttribute?.("action") === "/sign-out") forget();
});

class KeptDraft extends HTMLElement {
  connectedCallback() {
    this.key = PREFIX + this.getAttribute("path");
    this.form = document.querySelector(`form[action="${CSS.escape(this.getAttribute("path"))}"]`);
    const kept = this.read();
    if (kept && kept.owner !== this.getAttribute("owner")) forget();
    else if (kept && published().includes(kept.draft)) this.drop();
    else if (kept && this.hasAttribute("unsaved") && kept.draft !== this.getAttribute("draft")) this.offer(kept);
    else if (kept && !this.hasAttribute("unsaved")) this.offer(kept);
    if (this.hasAttribute("unsaved") && !this.offered) this.save();
    this.typed = () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.save(), SAVE_AFTER_MS);
    };
    document.addEventListener("input", this.typed);
    document.addEventListener("submit", (event) => {
      if (event.target === this.currentForm()) this.save();
    });
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
    document.removeEventListener("input", this.typed);
  }

  // The form is morphed, and may be another element than at first.
  currentForm() {
    return document.querySelector(`form[action="${CSS.escape(this.getAttribute("path"))}"]`) ?? this.form;
  }

  read() {
    try {
      return JSON.parse(sessionStorage.getItem(this.key) ?? "null");
    } catch {
      return null;
    }
  }

  save() {
    const form = this.currentForm();
    if (!form) return;
    form.querySelectorAll("json-editor").forEach((editor) => editor.write?.());
    const fields = [...new FormData(form)].filter(([name]) => !GONE_ON_LOAD.includes(name));
    const draft = fields.find(([name]) => name === "draft")?.[1] ?? this.getAttribute("draft");
    const text = JSON.stringify({ draft, owner: this.getAttribute("owner"), at: Date.now(), fields });
    try {
      if (text.length <= MOST_CHARS) sessionStorage.setItem(this.key, text);
    } catch {
      // The tab's storage is full: what is on the page is all there is.
    }
    if (this.offered) this.close();
  }

  drop() {
    sessionStorage.removeItem(this.key);
  }

  offer(kept) {
    this.offered = true;
    const words = document.createElement("p");
    const seconds = (Date.now() - kept.at) / 1000;
    words.textContent = `You have an unsaved draft from ${seconds < 60 ? "a moment" : age(seconds)} ago.`;
    const restore = document.createElement("button");
    restore.type = "button";
    restore.textContent = "Restore it";
    restore.className = "primary";
    restore.addEventListener("click", () => this.restore(kept));
    const discard = document.createElement("button");
    discard.type = "button";
    discard.textContent = "Discard it";
    discard.addEventListener("click", () => {
      this.drop();
      this.close();
    });
    const box = document.createElement("div");
    box.className = "notice info kept";
    box.setAttribute("role", "status");
    box.append(words, restore, discard);
    this.replaceChildren(box);
  }

  close() {
    this.offered = false;
    this.replaceChildren();
  }

  // The server draws the form: how many rows there are is its to say.
  restore(kept) {
    const form = document.createElement("form");
    form.method = "post";
    form.action = this.getAttribute("path");
    form.hidden = true;
    for (const [name, value] of [...kept.fields, ["do", "edit"]]) {
      const field = document.createElement("textarea");
      field.name = name;
      field.value = value;
      form.append(field);
    }
    document.body.append(form);
    form.submit();
  }
}

customElements.define("kept-draft", KeptDraft);
