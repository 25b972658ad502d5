// <live-status src="/live/…">: keeps the page live, says how old what is shown is, and pauses it.
//
// With `steady`, rows that come above do not move what somebody reads.
//
// The stream is htmx's, started from here and not by an attribute: htmx looks at the page as soon as it is
// loaded, which may be before its SSE extension is; this module always runs after both.
import { age } from "./relative-time.js";

const OLD_AFTER_S = 6;

class LiveStatus extends HTMLElement {
  connectedCallback() {
    this.text = this.querySelector("span");
    this.button = this.querySelector("button");
    this.heardAt = Date.now();
    this.paused = false;
    this.refused = false;
    this.button.addEventListener("click", () => (this.paused ? this.resume() : this.pause()));
    this.timer = setInterval(() => this.draw(), 1000);
    if (this.hasAttribute("steady")) {
      // Before anything is painted: nobody sees it jump.
      this.observer = new MutationObserver(() => this.release());
      this.observer.observe(document.getElementById("main"), { childList: true, subtree: true });
    }
    this.begin();
    this.draw();
  }

  disconnectedCallback() {
    clearInterval(this.timer);
    this.observer?.disconnect();
    this.end();
  }

  // A new stream starts with everything, so nothing of a pause is missed.
  begin() {
    const source = document.createElement("div");
    source.hidden = true;
    this.append(source);
    this.source = source;
    source.addEventListener("htmx:sse:after:connection", (event) => {
      this.connection = event.detail.connection;
      this.refused = false;
    });
    for (const name of ["htmx:sse:after:message", "beat"]) {
      source.addEventListener(name, () => {
        this.heardAt = Date.now();
        this.held = undefined;
        this.draw();
      });
    }
    source.addEventListener("htmx:sse:before:message", () => this.hold());
    source.addEventListener("htmx:sse:error", (event) => {
      this.refused = event.detail.status === 401;
    });
    window.htmx.ajax("GET", this.getAttribute("src"), { source, target: source, swap: "none" });
  }

  // The stream of an element that is gone ends.
  end() {
    this.source?.remove();
    this.connection?.reader?.cancel();
    this.connection = undefined;
  }

  // The row that has the focus, is under the pointer or unfolded; else, once one has scrolled, the first in view.
  hold() {
    if (!this.observer) return;
    const inView = (row) => {
      const box = row?.getBoundingClientRect();
      return box && box.bottom > 0 && box.top < window.innerHeight;
    };
    const rows = [...document.querySelectorAll("tr[id]")];
    const row =
      [document.activeElement?.closest("tr[id]"), document.querySelector("tr[id]:hover")].find(inView) ??
      rows.find((one) => one.querySelector("details[open]") && inView(one)) ??
      (window.scrollY > 0 ? rows.find(inView) : undefined);
    this.held = row && { row, top: row.getBoundingClientRect().top };
  }

  release() {
    if (!this.held?.row.isConnected) return;
    const moved = this.held.row.getBoundingClientRect().top - this.held.top;
    if (moved) window.scrollBy({ top: moved, behavior: "instant" });
  }

  pause() {
    this.paused = true;
    this.end();
    this.draw();
  }

  resume() {
    this.paused = false;
    this.begin();
    this.draw();
  }

  draw() {
    const seconds = (Date.now() - this.heardAt) / 1000;
    const old = seconds > OLD_AFTER_S;
    const state = this.paused ? "paused" : old ? "old" : "live";
    this.dataset.state = state;
    document.documentElement.dataset.live = old ? "old" : "live";
    const words = {
      live: `Live · ${age(seconds)} ago`,
      paused: `Paused · as of ${age(seconds)} ago`,
      old: this.refused ? "Signed out: reload the page" : `Not live · as of ${age(seconds)} ago`,
    }[state];
    if (this.text.textContent !== words) this.text.textContent = words;
    const label = this.paused ? "Resume" : "Pause";
    if (this.button.textContent !== label) this.button.textContent = label;
  }
}

customElements.define("live-status", LiveStatus);
