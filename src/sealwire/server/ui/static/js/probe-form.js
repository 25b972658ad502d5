// What makes the form of a probe quick: fields that complete, expressions that say at once what is wrong, and
// notes that follow the panel beside the form. Without script everything here works by the form's buttons.

const API = "/api/admin/v1/debugger";
const OFFER_AFTER_MS = 120;
const CHECK_AFTER_MS = 250;
const MOST_OFFERS = 30;

const form = () => document.getElementById("probe-form");
const value = (name) => {
  const field = form()?.elements[name];
  return (field instanceof RadioNodeList ? field.value : (field?.value ?? "")).trim();
};
const envs = () => value("env").split(",").map((one) => one.trim()).filter(Boolean);
const place = () => (value("place") === "line" ? "line" : value("kind") === "span" ? "entry" : value("at") || "exit");
const language = () => document.getElementById("look-root")?.dataset.language ?? "";

// The server counts characters, this language halves of some.
const points = (text) => [...text].length;
const units = (text, count) => [...text].slice(0, count).join("").length;

function where() {
  if (value("place") === "line") return { file: value("file"), line: Number.parseInt(value("line"), 10) || 0 };
  return { type: value("type"), method: value("method") };
}

async function ask(path, body) {
  try {
    const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    const answer = await fetch(API + path, options);
    return answer.ok ? await answer.json() : undefined;
  } catch {
    return undefined; // The server has the last word when the form is sent.
  }
}

// A listbox under a field: arrows move, Enter or Tab takes, Escape leaves. Whoever extends it says what there is
// to offer: {start, end, offers: [{text, says, caret}]}.
class OfferField extends HTMLElement {
  connectedCallback() {
    this.input = this.querySelector("input, textarea");
    this.list = this.querySelector("[role=listbox]");
    this.chosen = -1;
    this.offers = [];
    const input = this.input;
    input.removeAttribute("list");
    const named = { "aria-autocomplete": "list", "aria-controls": this.list.id, "aria-haspopup": "listbox" };
    if (input.localName === "input") Object.assign(named, { role: "combobox", "aria-expanded": "false" });
    for (const [name, text] of Object.entries(named)) input.setAttribute(name, text);
    input.addEventListener("input", () => this.soon());
    input.addEventListener("click", () => this.soon());
    input.addEventListener("keydown", (event) => this.key(event));
    input.addEventListener("blur", () => this.close());
    this.list.addEventListener("mousedown", (event) => {
      event.preventDefault();
      const row = event.target.closest("li");
      if (row) this.take([...this.list.children].indexOf(row));
    });
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.offer(), OFFER_AFTER_MS);
  }

  async offer() {
    const asked = (this.asked = Symbol("asked"));
    const text = this.input.value;
    const found = await this.find(text, this.input.selectionStart ?? 0);
    if (asked === this.asked && document.activeElement === this.input) this.show(found && { ...found, text });
  }

  show(found) {
    const chosen = this.offers[this.chosen]?.text;
    this.found = found;
    this.offers = found?.offers.slice(0, MOST_OFFERS) ?? [];
    this.chosen = -1;
    this.list.replaceChildren(
      ...this.offers.map((offer, number) => {
        const row = document.createElement("li");
        row.id = `${this.list.id}-${number}`;
        row.setAttribute("role", "option");
        row.setAttribute("aria-selected", "false");
        const text = document.createElement("bdi");
        text.textContent = offer.text;
        const says = document.createElement("small");
        says.textContent = offer.says ?? "";
        row.append(text, says);
        return row;
      }),
    );
    this.list.hidden = this.offers.length === 0;
    if (this.input.getAttribute("role") === "combobox") this.input.setAttribute("aria-expanded", String(!this.list.hidden));
    this.input.removeAttribute("aria-activedescendant");
    // What somebody has gone to stays chosen, though the list was asked for again meanwhile.
    const again = this.offers.findIndex((offer) => offer.text === chosen);
    if (chosen !== undefined && again >= 0) this.choose(again);
  }

  close() {
    clearTimeout(this.timer);
    this.asked = undefined;
    this.show(undefined);
  }

  choose(number) {
    const count = this.offers.length;
    this.chosen = (number + count) % count;
    [...this.list.children].forEach((row, index) => row.setAttribute("aria-selected", String(index === this.chosen)));
    const row = this.list.children[this.chosen];
    row.scrollIntoView({ block: "nearest" });
    this.input.setAttribute("aria-activedescendant", row.id);
  }

  async take(number) {
    let offer = this.offers[number];
    if (this.found.text !== this.input.value) {
      // More was typed since: where it is put must be asked anew.
      await this.offer();
      offer = this.offers.find((one) => one.text === offer.text);
      if (!offer) return;
    }
    const { start, end } = this.found;
    const text = this.input.value;
    const put = offer.put ?? offer.text;
    this.input.value = text.slice(0, start) + put + text.slice(end);
    const cursor = start + put.length - (offer.caret ?? 0);
    this.input.setSelectionRange(cursor, cursor);
    this.taken(offer);
    this.close();
    this.changed();
  }

  taken() {}

  // Whatever follows what is typed follows what is taken, too.
  changed() {
    this.input.dispatchEvent(new Event("input", { bubbles: true }));
    clearTimeout(this.timer);
  }

  key(event) {
    if (event.isComposing) return;
    if (this.list.hidden) {
      const wanted = event.ctrlKey && event.key === " ";
      const down = event.key === "ArrowDown" && (this.input.localName === "input" || event.altKey);
      if (!wanted && !down) return;
      this.offer();
    } else if (event.key === "ArrowDown") this.choose(this.chosen + 1);
    else if (event.key === "ArrowUp") this.choose(this.chosen < 0 ? -1 : this.chosen - 1);
    else if (event.key === "Escape") this.close();
    else if ((event.key === "Tab" || event.key === "Enter") && this.chosen >= 0 && !event.shiftKey) this.take(this.chosen);
    else return;
    event.preventDefault();
  }
}

// <choice-field source>: what the fleet or the symbols of the service have; anything may be typed.
class ChoiceField extends OfferField {
  connectedCallback() {
    this.known = [...this.querySelectorAll("datalist option")].map((one) => one.value);
    super.connectedCallback();
  }

  async find(text, cursor) {
    const source = this.getAttribute("source");
    const whole = { start: 0, end: text.length };
    if (source === "known-list") {
      const start = text.lastIndexOf(",", cursor - 1) + 1;
      const from = start + (/^\s*/.exec(text.slice(start))?.[0].length ?? 0);
      const comma = text.indexOf(",", cursor);
      return { start: from, end: comma < 0 ? text.length : comma, offers: this.matching(text.slice(from, cursor)) };
    }
    if (source === "known") return { ...whole, offers: this.matching(text) };
    return { ...whole, offers: await this.symbols(source, text.trim()) };
  }

  matching(text) {
    const low = text.trim().toLowerCase();
    return this.known.filter((one) => one.toLowerCase().includes(low) && one.toLowerCase() !== low).map((one) => ({ text: one }));
  }

  async symbols(source, text) {
    if (!value("service")) return [];
    const query = new URLSearchParams({ service: value("service"), env: envs()[0] ?? "" });
    if (source === "lines") {
      if (!value("file")) return [];
      query.set("file", value("file"));
      const found = await ask(`/symbols/lines?${query}`);
      return (found?.lines ?? [])
        .filter((one) => one.is_injectible && String(one.line).startsWith(text))
        .map((one) => ({ text: String(one.line), says: one.function }));
    }
    query.set("text", text);
    query.set("limit", String(MOST_OFFERS));
    if (source === "files") {
      const found = await ask(`/symbols/files?${query}`);
      return (found?.files ?? []).map((one) => ({ text: one.file, says: `${one.functions} functions` }));
    }
    const found = await ask(`/symbols/functions?${query}`);
    const functions = (found?.functions ?? []).filter(
      (one) => source !== "methods" || !value("type") || text || one.type === value("type"),
    );
    return functions.map((one) => ({
      text: `${one.type}.${one.method}`,
      put: source === "methods" ? one.method : one.type,
      says: `${one.file}:${one.start_line}`,
      function: one,
    }));
  }

  // A function that is taken says both what it is in and what it is called.
  taken(offer) {
    if (!offer.function) return;
    form().elements.type.value = offer.function.type;
    form().elements.method.value = offer.function.method;
  }
}

// <expression-field [message]>: completes names and functions, and marks what is wrong at its character.
class ExpressionField extends OfferField {
  connectedCallback() {
    this.says = this.querySelector(".says");
    super.connectedCallback();
    this.input.addEventListener("input", () => this.checkSoon());
    // What is right depends on the place too: a line has no @return.
    this.again = (event) => {
      if (["place", "at", "kind", "language"].includes(event.target.name)) this.checkSoon();
    };
    document.addEventListener("change", this.again);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearTimeout(this.checking);
    document.removeEventListener("change", this.again);
  }

  get isMessage() {
    return this.hasAttribute("message");
  }

  async find(text, cursor) {
    const found = await ask("/expressions:complete", {
      text, cursor: points(text.slice(0, cursor)), is_template: this.isMessage, place: place(), service: value("service"), envs: envs(), where: where(), probe_id: value("probe"),
    });
    const start = found ? units(text, found.start) : cursor;
    const typed = text.slice(start, cursor);
    const before = text.slice(0, start).trimEnd();
    // Everything there is, unasked, is too much; behind a dot it is what is wanted.
    const wanted = typed || before.endsWith(".") || this.isAsked;
    const offers = (found?.candidates ?? []).map((one) => ({ text: one.text, says: one.detail, caret: one.caret }));
    return wanted && found ? { start, end: units(text, found.end), offers: offers.filter((one) => one.text !== typed) } : undefined;
  }

  key(event) {
    this.isAsked = (event.ctrlKey && event.key === " ") || (event.altKey && event.key === "ArrowDown");
    super.key(event);
  }

  checkSoon() {
    clearTimeout(this.checking);
    this.checking = setTimeout(() => this.check(), CHECK_AFTER_MS);
  }

  async check() {
    const text = this.input.value;
    const found = text.trim() && (await ask("/expressions:compile", { text, is_template: this.isMessage, place: place(), language: language() }));
    if (text !== this.input.value) return;
    const problem = found ? (found.problems[0] ?? found.refusals[0]) : undefined;
    if (problem) this.input.setAttribute("aria-invalid", "true");
    else this.input.removeAttribute("aria-invalid");
    this.closest(".field")?.classList.toggle("bad", Boolean(problem));
    this.says.replaceChildren(...(problem ? marked(text, problem) : []));
  }
}

// The reason, and the text with what is wrong in it.
function marked(text, problem) {
  const reason = document.createElement("p");
  reason.className = "wrong";
  reason.textContent = `Character ${problem.position + 1}: ${[problem.expected, problem.suggestion].filter(Boolean).join(" ")}`;
  const characters = [...text];
  const [begin, end] = [problem.position, problem.position + Math.max(problem.length, 1)];
  const code = document.createElement("code");
  code.className = "marked";
  const mark = document.createElement("mark");
  mark.textContent = characters.slice(begin, end).join("").slice(0, 60) || " ";
  code.append(characters.slice(Math.max(0, begin - 60), begin).join(""), mark, characters.slice(end, end + 60).join(""));
  return [reason, code];
}

// What the panel says of kind and language stands at these fields, too.
new MutationObserver(() => {
  const root = document.getElementById("look-root");
  const note = document.getElementById("kind-note");
  if (!root || !note) return;
  const words = root.dataset.kindNote;
  if (note.textContent.trim() !== words) note.querySelector("p").textContent = words;
  if (note.hidden !== !words) note.hidden = !words;
  const about = document.getElementById("about-language");
  const said = root.dataset.languageWords || "Decides what its tracer can do.";
  if (about && about.textContent !== said) about.textContent = said;
}).observe(document.getElementById("main"), { childList: true, subtree: true, attributes: true, attributeFilter: ["data-kind-note", "data-language-words"] });

// A session that has ended, or a server that is gone, answers with something that is no panel.
document.addEventListener("htmx:after:request", (event) => {
  const { ctx } = event.detail;
  if (ctx.target?.id !== "look" || (ctx.response.status === 200 && !ctx.response.raw.redirected)) return;
  event.preventDefault();
  const old = document.createElement("p");
  old.className = "wrong";
  old.textContent = "Not up to date: this could not be asked. What you type stays.";
  if (!ctx.target.querySelector(":scope > .wrong")) ctx.target.prepend(old);
});

customElements.define("choice-field", ChoiceField);
customElements.define("expression-field", ExpressionField);
