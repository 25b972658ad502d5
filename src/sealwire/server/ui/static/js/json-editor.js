// <json-editor src label problems>: makes a textarea an editor for JSON; without scripts it stays a textarea.
//
// The editor lives in a shadow root, where its style sheets are constructed and the page's policy on styles
// has nothing to refuse. The textarea stays what is sent: it is written when the form is, and after a pause
// in typing. What is far too large is said at once and not sent.
const MOST_BYTES = 1_000_000; // of a config; the server decides, this only says it early
const NOT_SENT_BYTES = 4_000_000;
const WRITE_AFTER_MS = 300;

/** @param {string} path @returns {(string | number)[]} */
function steps(path) {
  const found = [];
  for (const match of path.matchAll(/\.([^.[\]]+)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]/g)) {
    if (match[2] !== undefined) found.push(Number(match[2]));
    else found.push(match[1] ?? JSON.parse(`"${match[3]}"`));
  }
  return found;
}

function size(bytes) {
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}

const style = (name) => `var(--${name})`;

/** How an editor looks: the colours and sizes of the page. */
export function look(c, minHeight = "280px") {
  return c.EditorView.theme({
    "&": { color: style("ink"), backgroundColor: style("surface"), border: "1px solid var(--line-2)",
      borderRadius: style("radius"), fontSize: style("text-m"), maxHeight: "min(72vh, 760px)" },
    "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "1px" },
    ".cm-scroller": { fontFamily: style("mono"), lineHeight: "1.5", overflow: "auto" },
    ".cm-content": { caretColor: style("ink"), padding: "8px 0" },
    ".cm-content, .cm-gutter": { minHeight },
    ".cm-cursor": { borderLeftColor: style("ink") },
    "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground":
      { backgroundColor: style("accent-soft") },
    ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--accent-soft) 35%, transparent)" },
    ".cm-gutters": { color: style("ink-3"), backgroundColor: style("raised"), border: "0",
      borderRight: "1px solid var(--line)" },
    ".cm-activeLineGutter": { backgroundColor: "transparent", color: style("ink") },
    ".cm-matchingBracket": { outline: "1px solid var(--line-2)", backgroundColor: "transparent" },
    ".cm-tooltip": { color: style("ink"), backgroundColor: style("surface"), border: "1px solid var(--line-2)",
      borderRadius: style("radius"), maxWidth: "60ch" },
    ".cm-diagnostic": { padding: "6px 10px", borderLeft: "3px solid var(--bad)", fontFamily: style("font") },
    ".cm-diagnostic-error": { borderLeftColor: style("bad") },
    ".cm-lintRange-error": { backgroundImage: "none", textDecoration: "underline wavy var(--bad)",
      textUnderlineOffset: "3px" },
    ".cm-panels": { color: style("ink"), backgroundColor: style("raised") },
    ".cm-textfield": { color: style("ink"), backgroundColor: style("surface"), borderColor: style("line-2") },
    ".cm-button": { color: style("ink"), backgroundColor: style("surface"), backgroundImage: "none",
      borderColor: style("line-2") },
    ".cm-foldPlaceholder": { color: style("ink-2"), backgroundColor: style("mute-soft"), border: "0" },
  });
}

export function colours(c) {
  return c.HighlightStyle.define([
    { tag: c.tags.propertyName, color: style("accent") },
    { tag: c.tags.string, color: style("ok") },
    { tag: c.tags.number, color: style("wait") },
    { tag: [c.tags.bool, c.tags.null], color: style("bad") },
  ]);
}

class JsonEditor extends HTMLElement {
  async connectedCallback() {
    this.area = this.querySelector("textarea");
    if (!this.area || this.started) return;
    this.started = true;
    this.message = document.createElement("p");
    this.message.className = "wrong";
    this.message.setAttribute("role", "alert");
    this.message.hidden = true;
    this.append(this.message);
    this.area.addEventListener("input", () => this.measure(this.area.value.length));
    this.measure(this.area.value.length);
    this.area.form?.addEventListener("submit", (event) => this.sending(event));
    this.area.form?.addEventListener("formdata", (event) => {
      if (this.view && !this.tooMuch) event.formData.set(this.area.name, this.text());
    });
    this.parts = await import(this.getAttribute("src"));
    this.start();
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
    this.view?.destroy();
    this.view = undefined;
  }

  start() {
    const c = this.parts;
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open", delegatesFocus: true });
    const place = document.createElement("div");
    root.replaceChildren(place, document.createElement("slot"));
    const changed = c.EditorView.updateListener.of((update) => {
      if (!update.docChanged) return;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.write(), WRITE_AFTER_MS);
      this.measure(update.state.doc.length);
    });
    const parses = c.jsonParseLinter();
    const state = c.EditorState.create({
      doc: this.area.value,
      extensions: [
        c.lineNumbers(), c.highlightActiveLineGutter(), c.highlightActiveLine(), c.foldGutter(), c.history(),
        c.drawSelection(), c.indentOnInput(), c.bracketMatching(), c.json(), c.syntaxHighlighting(colours(c)),
        c.linter((view) => (this.tooMuch ? [] : [...parses(view), ...this.marks(view)]), { delay: 600 }), c.lintGutter(), c.EditorView.lineWrapping, look(c),
        c.keymap.of([...c.defaultKeymap, ...c.historyKeymap, ...c.foldKeymap, ...c.lintKeymap, ...c.searchKeymap]),
        c.EditorView.contentAttributes.of({
          "aria-label": this.getAttribute("label") ?? "JSON",
          "aria-multiline": "true",
        }),
        changed,
      ],
    });
    this.view = new c.EditorView({ state, parent: place, root });
    this.area.hidden = true;
    this.first = this.view.state.doc;
    const [first] = this.marks(this.view);
    if (first) {
      c.forceLinting(this.view);
      this.view.dispatch({ effects: c.EditorView.scrollIntoView(first.from, { y: "center" }) });
    }
  }

  text() {
    return this.view ? this.view.state.doc.toString() : this.area.value;
  }

  // The textarea as the editor has it.
  write() {
    if (!this.view || this.tooMuch) return;
    this.area.value = this.text();
    this.area.dispatchEvent(new Event("input", { bubbles: true }));
  }

  get tooMuch() {
    return this.bytes > NOT_SENT_BYTES;
  }

  /** Says at once what is too large; bytes are counted only where the characters leave it open. */
  measure(characters) {
    const isOpen = characters > MOST_BYTES / 4 && characters <= NOT_SENT_BYTES;
    this.bytes = isOpen ? new Blob([this.text()]).size : characters;
    const words = this.tooMuch
      ? `This is ${size(this.bytes)}. One config may have ${size(MOST_BYTES)}: split it into several. ` +
        "It stays here, and is not sent before it is smaller."
      : "";
    if (this.message.textContent !== words) this.message.textContent = words;
    this.message.hidden = !this.tooMuch;
  }

  sending(event) {
    this.measure(this.view ? this.view.state.doc.length : this.area.value.length);
    if (!this.tooMuch) return;
    event.preventDefault();
    this.message.scrollIntoView({ block: "center" });
  }

  // Problems the server found, at what they are about; until the text is changed.
  marks(view) {
    const { state } = view;
    let problems = [];
    try {
      problems = JSON.parse(this.getAttribute("problems") ?? "[]");
    } catch {
      return [];
    }
    const tree = problems.length && state.doc === this.first && this.parts.ensureSyntaxTree(state, state.doc.length, 500);
    if (!tree) return [];
    return problems.map((problem) => {
      const node = this.find(tree.topNode, steps(problem.path));
      const from = node?.from ?? 0;
      const line = state.doc.lineAt(from);
      const to = Math.min(Math.max(from + 1, Math.min(node?.to ?? line.to, line.to)), state.doc.length);
      return { from: Math.min(from, to), to, severity: "error", message: problem.message };
    });
  }

  /** The node at a path, or the nearest around it. */
  find(top, path) {
    let node = top.firstChild;
    const { doc } = this.view.state;
    for (const step of path) {
      let found = null;
      if (typeof step === "number" && node?.name === "Array") {
        let index = -1;
        for (let child = node.firstChild; child; child = child.nextSibling) {
          if (/^[[\],⚠]$/.test(child.name)) continue;
          index += 1;
          if (index === step) {
            found = child;
            break;
          }
        }
      } else if (typeof step === "string" && node?.name === "Object") {
        for (const property of node.getChildren("Property")) {
          const name = property.getChild("PropertyName");
          if (name && doc.sliceString(name.from, name.to) === JSON.stringify(step)) {
            found = property.lastChild === name ? name : property.lastChild;
            break;
          }
        }
      }
      if (!found) break;
      node = found;
    }
    return node;
  }
}

customElements.define("json-editor", JsonEditor);
