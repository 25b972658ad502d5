// <live-status>: says whether what is shown is live and how old it is, and pauses it. The stream itself is
// htmx's (hx-sse:connect on #live); this element only listens to it.
import { age } from "./relative-time.js";

const OLD_AFTER_S = 6;

class LiveStatus extends HTMLElement {
  connectedCallback() {
    this.text = this.querySelector("span");
    this.button = this.querySelector("button");
    this.heardAt = Date.now();
    this.paused = false;
    this.refused = false;
    this.listen(document.getElementById("live"));
    this.button.addEventListener("click", () => (this.paused ? this.resume() : this.pause()));
    this.timer = setInterval(() => this.draw(), 1000);
    this.draw();
  }

  disconnectedCallback() {
    clearInterval(this.timer);
  }

  listen(source) {
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
  }

  // A new element in the old one's place ends the stream; with the address it begins anew, and a new stream
  // starts with everything, so nothing of the pause is missed.
  replace(connect) {
    const fresh = document.createElement("div");
    fresh.id = "live";
    fresh.hidden = true;
    fresh.setAttribute("hx-swap", "none");
    if (connect) fresh.setAttribute("hx-sse:connect", this.getAttribute("src"));
    this.source.replaceWith(fresh);
    this.connection?.reader?.cancel();
    this.connection = undefined;
    this.listen(fresh);
    if (connect) window.htmx.process(fresh);
  }

  pause() {
    this.paused = true;
    this.replace(false);
    this.draw();
  }

  resume() {
    this.paused = false;
    this.replace(true);
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
