// <live-status src="/live/…">: keeps the page live, says how old what is shown is, and pauses it.
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
    this.begin();
    this.draw();
  }

  disconnectedCallback() {
    clearInterval(this.timer);
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
        this.draw();
      });
    }
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
