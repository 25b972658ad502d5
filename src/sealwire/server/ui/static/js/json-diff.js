// <json-diff src names>: two texts beside each other, what differs marked. Without scripts it stays the two
// <pre> inside it, one below the other.
import { colours, look } from "./json-editor.js";

class JsonDiff extends HTMLElement {
  connectedCallback() {
    const details = this.closest("details");
    if (!details || details.open) this.start();
    else details.addEventListener("toggle", () => this.start(), { once: true });
  }

  disconnectedCallback() {
    this.view?.destroy();
    this.view = undefined;
  }

  async start() {
    const texts = [...this.querySelectorAll("pre")];
    if (this.view || texts.length !== 2) return;
    const c = await import(this.getAttribute("src"));
    const root = this.attachShadow({ mode: "open" });
    const side = (pre) => ({
      doc: pre.textContent,
      extensions: [
        c.lineNumbers(), c.json(), c.syntaxHighlighting(colours(c)), look(c, "0"), c.EditorView.lineWrapping,
        c.EditorState.readOnly.of(true), c.keymap.of(c.defaultKeymap),
        c.EditorView.contentAttributes.of({ "aria-label": pre.getAttribute("aria-label") ?? "JSON" }),
      ],
    });
    this.view = new c.MergeView({
      a: side(texts[0]), b: side(texts[1]), parent: root, root, gutter: true,
      collapseUnchanged: { margin: 3, minSize: 6 }, diffConfig: { scanLimit: 1000, timeout: 500 },
    });
  }
}

customElements.define("json-diff", JsonDiff);
