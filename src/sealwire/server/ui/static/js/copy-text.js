// <copy-text from="id"><button type="button">Copy</button></copy-text>: copies the text of the element
// with that id, and says so. Without script, or where the browser forbids it, the button is not there.
class CopyText extends HTMLElement {
  connectedCallback() {
    this.button = this.querySelector("button");
    this.said = document.createElement("span");
    this.said.setAttribute("role", "status");
    this.append(this.said);
    this.hidden = !navigator.clipboard;
    this.button.addEventListener("click", () => this.copy());
  }

  async copy() {
    const source = document.getElementById(this.getAttribute("from") ?? "");
    try {
      await navigator.clipboard.writeText(source?.innerText.trim() ?? "");
      this.said.textContent = "Copied";
    } catch {
      this.said.textContent = "Not copied: select it and copy it yourself";
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => (this.said.textContent = ""), 4000);
  }
}

customElements.define("copy-text", CopyText);
