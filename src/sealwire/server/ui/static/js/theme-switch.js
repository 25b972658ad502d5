// Light, dark, or as the system has it. Kept in a cookie, so that the server writes the theme into the page
// and nothing flashes.
const COOKIE = "sealwire_theme";

class ThemeSwitch extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", (event) => {
      const button = event.target.closest("button[value]");
      if (button) this.choose(button.value);
    });
    this.show(document.documentElement.dataset.theme ?? "");
  }

  choose(theme) {
    const secure = location.protocol === "https:" ? "; Secure" : "";
    const age = theme ? 31536000 : 0;
    document.cookie = `${COOKIE}=${theme}; Path=/; Max-Age=${age}; SameSite=Lax${secure}`;
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    this.show(theme);
  }

  show(theme) {
    for (const button of this.querySelectorAll("button[value]")) {
      button.setAttribute("aria-pressed", String(button.value === theme));
    }
  }
}

customElements.define("theme-switch", ThemeSwitch);
