// What makes the search of security traces quick. Without script everything here works by its links and forms.

// <query-field>: completes names of facets, and after a name the values there are. A listbox under the field:
// arrows move, Enter or Tab takes, Escape leaves.
const VALUES = "/api/admin/v1/security/facets";
const PLAIN = /^[\w.:@+/=~$%&!?;,-]+$/;

class QueryField extends HTMLElement {
  connectedCallback() {
    this.input = this.querySelector("input");
    this.list = this.querySelector("[role=listbox]");
    this.known = [...this.querySelectorAll("datalist option")].map((one) => [one.value, one.label]);
    this.chosen = -1;
    const input = this.input;
    for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": this.list.id })) input.setAttribute(name, value);
    input.addEventListener("input", () => this.offer());
    input.addEventListener("click", () => this.offer());
    input.addEventListener("keydown", (event) => this.key(event));
    input.addEventListener("blur", () => this.close());
    this.list.addEventListener("mousedown", (event) => {
      event.preventDefault();
      const row = event.target.closest("li");
      if (row) this.take([...this.list.children].indexOf(row));
    });
  }

  // The word under the cursor: where it begins, a minus or parenthesis before it left out.
  word() {
    const upto = this.input.value.slice(0, this.input.selectionStart ?? 0);
    const begin = /(?:"(?:[^"\\]|\\.)*"|[^\s"()])*$/.exec(upto);
    let text = begin ? begin[0] : "";
    if (text.startsWith("-")) text = text.slice(1);
    const name = /^(@?[A-Za-z_][\w.@-]*):(.*)$/s.exec(text);
    return { from: upto.length - (name ? name[2].length : text.length), facet: name?.[1], text: name ? name[2] : text };
  }

  async offer() {
    const word = this.word();
    const asked = (this.asked = Symbol("asked"));
    let offers = [];
    if (word.facet) {
      offers = await this.values(word);
    } else if (word.text) {
      const low = word.text.toLowerCase().replace(/^@/, "");
      offers = this.known.filter(([name]) => name.includes(low)).map(([name, says]) => ({ text: `${name}:`, says, goesOn: true }));
    }
    if (asked === this.asked) this.show(offers.slice(0, 12), word);
  }

  async values(word) {
    const here = new URLSearchParams(location.search);
    const times = [...document.querySelectorAll(".own-times [type=datetime-local]")].map((one) => one.value);
    const parameters = new URLSearchParams({ facet: word.facet, limit: "50", from: times[0] ?? "" });
    if (here.get("to")) parameters.set("to", times[1] ?? "");
    if (this.last?.key !== parameters.toString()) {
      try {
        const answer = await fetch(`${VALUES}?${parameters}`);
        if (!answer.ok) return [];
        this.last = { key: parameters.toString(), values: (await answer.json()).values };
      } catch {
        return [];
      }
    }
    const low = word.text.replace(/^"/, "").toLowerCase();
    return this.last.values
      .filter((one) => one.value.toLowerCase().includes(low))
      .map((one) => ({ text: PLAIN.test(one.value) ? one.value : `"${one.value.replace(/[\\"]/g, "\\$&")}"`, says: one.count.toLocaleString("en") }));
  }

  show(offers, word) {
    this.offers = offers;
    this.at = word;
    this.chosen = -1;
    this.list.replaceChildren(
      ...offers.map((offer, number) => {
        const row = document.createElement("li");
        row.id = `offer-${number}`;
        row.setAttribute("role", "option");
        row.setAttribute("aria-selected", "false");
        const text = document.createElement("bdi");
        text.textContent = offer.text;
        const says = document.createElement("small");
        says.textContent = offer.says;
        row.append(text, says);
        return row;
      }),
    );
    const open = offers.length > 0 && document.activeElement === this.input;
    this.list.hidden = !open;
    this.input.setAttribute("aria-expanded", String(open));
    this.input.removeAttribute("aria-activedescendant");
  }

  close() {
    this.asked = undefined;
    this.show([], undefined);
  }

  choose(number) {
    this.chosen = (number + this.offers.length) % this.offers.length;
    [...this.list.children].forEach((row, index) => row.setAttribute("aria-selected", String(index === this.chosen)));
    this.list.children[this.chosen].scrollIntoView({ block: "nearest" });
    this.input.setAttribute("aria-activedescendant", `offer-${this.chosen}`);
  }

  take(number) {
    const offer = this.offers[number];
    const { value, selectionStart } = this.input;
    const rest = value.slice(selectionStart ?? value.length).replace(/^[^\s()]+/, "");
    const text = value.slice(0, this.at.from) + offer.text + (offer.goesOn || rest.startsWith(")") ? "" : " ");
    this.input.value = text + rest.replace(/^ /, offer.goesOn ? " " : "");
    this.input.setSelectionRange(text.length, text.length);
    this.close();
    if (offer.goesOn) this.offer();
  }

  key(event) {
    if (this.list.hidden || event.isComposing) {
      if (event.key === "ArrowDown" && !event.isComposing) this.offer();
      return;
    }
    if (event.key === "ArrowDown") this.choose(this.chosen + 1);
    else if (event.key === "ArrowUp") this.choose(this.chosen < 0 ? -1 : this.chosen - 1);
    else if (event.key === "Escape") this.close();
    else if (event.key === "Tab" && this.chosen >= 0) this.take(this.chosen);
    else if (event.key === "Enter" && this.chosen >= 0) this.take(this.chosen);
    else return;
    event.preventDefault();
  }
}

// <time-bars>: arrows go from bar to bar; drawn over with the pointer, from the first bar to the last.
class TimeBars extends HTMLElement {
  connectedCallback() {
    this.addEventListener("keydown", (event) => {
      const bars = [...this.querySelectorAll("a")];
      const at = bars.indexOf(document.activeElement);
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: bars.length - 1 }[event.key];
      if (to === undefined || at < 0 || !bars[to]) return;
      event.preventDefault();
      bars[at].setAttribute("tabindex", "-1");
      bars[to].setAttribute("tabindex", "0");
      bars[to].focus();
    });
    this.addEventListener("dragstart", (event) => event.preventDefault());
    this.addEventListener("pointerdown", (event) => {
      this.first = event.button === 0 && event.pointerType === "mouse" ? event.target.closest("a") : null;
    });
    this.addEventListener("click", (event) => {
      const last = event.target.closest?.("a");
      if (this.drawn && this.drawn !== last) event.preventDefault();
      this.drawn = undefined;
    }, true);
    this.addEventListener("pointerup", (event) => {
      const last = event.target.closest?.("a");
      if (!this.first || !last || this.first === last) return;
      const [one, other] = [this.first, last].map((bar) => new URL(bar.getAttribute("href"), location.href));
      const times = [one, other].flatMap((url) => [url.searchParams.get("from"), url.searchParams.get("to")]).sort();
      one.searchParams.set("from", times[0]);
      one.searchParams.set("to", times[3]);
      this.drawn = this.first;
      location.assign(one);
    });
  }
}

// <facet-list>: with Alt, a value is left out instead of asked for.
class FacetList extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", (event) => {
      const value = event.target.closest("a[data-exclude]");
      if (!value || !event.altKey) return;
      event.preventDefault();
      location.assign(value.dataset.exclude);
    });
  }
}

customElements.define("query-field", QueryField);
customElements.define("time-bars", TimeBars);
customElements.define("facet-list", FacetList);
