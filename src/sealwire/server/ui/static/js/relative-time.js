// <relative-time datetime="…">: the age of a moment, kept right by one timer for all of them. The text the
// server wrote (a clock time) is what people without scripts see; the full time is the title.
const all = new Set();
const STEPS = [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"], [Infinity, 86400, "d"]];
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

// This machine's clock may be off: ages are counted by the server's.
const stamped = Date.parse(document.documentElement.dataset.now ?? "");
const offset = Number.isNaN(stamped) || Math.abs(stamped - Date.now()) < 3000 ? 0 : stamped - Date.now();

export function age(seconds) {
  const size = Math.abs(seconds);
  const [, unit, name] = STEPS.find(([limit]) => size < limit);
  // What is to come is rounded: 30 days that began a second ago are not 29.
  return `${seconds < 0 ? Math.round(size / unit) : Math.floor(size / unit)} ${name}`;
}

class RelativeTime extends HTMLElement {
  static observedAttributes = ["datetime"];

  connectedCallback() {
    all.add(this);
    this.draw();
  }

  disconnectedCallback() {
    all.delete(this);
  }

  attributeChangedCallback() {
    this.shown = undefined;
    if (this.isConnected) this.draw();
  }

  draw() {
    const at = Date.parse(this.getAttribute("datetime") ?? "");
    const time = this.querySelector("time");
    if (Number.isNaN(at) || !time) return;
    const seconds = (Date.now() + offset - at) / 1000;
    const words = this.getAttribute("words") ?? "";
    const text = seconds >= 0 || words === "" ? age(Math.max(0, seconds)) : `in ${age(seconds)}`;
    const whole = seconds >= 0 && words === "ago" ? `${text} ago` : text;
    if (whole === this.shown) return;
    this.shown = whole;
    time.textContent = whole;
    time.title = full.format(at);
    time.dateTime = this.getAttribute("datetime");
  }
}

customElements.define("relative-time", RelativeTime);
setInterval(() => all.forEach((element) => element.draw()), 1000);
