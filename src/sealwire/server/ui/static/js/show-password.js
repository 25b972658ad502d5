// <show-password>: a button beside the password fields in it that shows and hides what is typed. Without
// scripts there is no button, and everything else works.
class ShowPassword extends HTMLElement {
  connectedCallback() {
    if (this.querySelector(":scope > button")) return;
    this.fields = [...this.querySelectorAll("input[type=password]")];
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.addEventListener("click", () => this.show(this.button.getAttribute("aria-pressed") !== "true"));
    this.append(this.button);
    this.show(false);
    // What is shown is not what a browser remembers as typed text.
    this.closest("form")?.addEventListener("submit", () => this.show(false));
  }

  /** @param {boolean} shown */
  show(shown) {
    for (const field of this.fields) field.type = shown ? "text" : "password";
    this.button.setAttribute("aria-pressed", String(shown));
    this.button.textContent = shown ? "Hide password" : "Show password";
  }
}

customElements.define("show-password", ShowPassword);
