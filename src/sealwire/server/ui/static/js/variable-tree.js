// <variable-tree branch="…" value="…" pane="id">: the variables of a snapshot by keyboard, as a tree of ARIA.
// What is folded is fetched as rows when it is unfolded; what is chosen is fetched into the pane. Without script
// every row is a link to the page with that row unfolded and chosen.
class VariableTree extends HTMLElement {
  connectedCallback() {
    this.tree = this.querySelector("[role=tree]");
    this.typed = "";
    this.prepare(this.tree);
    const first = this.tree.querySelector("[aria-selected=true]") ?? this.tree.querySelector("[role=treeitem]");
    if (first) first.tabIndex = 0;
    this.tree.addEventListener("click", (event) => this.clicked(event));
    this.tree.addEventListener("keydown", (event) => this.key(event));
    this.tree.addEventListener("focusin", (event) => this.rove(event.target.closest("[role=treeitem]")));
  }

  // Rows have the focus, not the links in them.
  prepare(within) {
    for (const item of within.querySelectorAll("[role=treeitem]")) item.tabIndex = -1;
    for (const link of within.querySelectorAll("a")) link.tabIndex = -1;
  }

  rove(item) {
    if (!item || item.tabIndex === 0) return;
    for (const other of this.tree.querySelectorAll("[role=treeitem][tabindex='0']")) other.tabIndex = -1;
    item.tabIndex = 0;
  }

  go(item) {
    if (!item) return;
    this.rove(item);
    item.focus({ preventScroll: true });
    item.scrollIntoView({ block: "nearest" });
  }

  shown() {
    return [...this.tree.querySelectorAll("[role=treeitem]")].filter((item) => !item.closest("[role=group][hidden]"));
  }

  // The rows in it, and the row it is in: a group stands beside its row.
  group(item) {
    return item.parentElement.querySelector(":scope > [role=group]");
  }

  around(item) {
    return item.closest("[role=group]")?.previousElementSibling;
  }

  clicked(event) {
    const item = event.target.closest("[role=treeitem]");
    if (!item || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const link = event.target.closest("a");
    if (!link && getSelection()?.toString()) return;
    event.preventDefault();
    this.go(item);
    if (item.classList.contains("more")) return void this.page(item);
    if (event.target.closest(".named .icon")) return void this.toggle(item);
    this.choose(item);
    if (item.getAttribute("aria-expanded") === "false") this.toggle(item);
  }

  async key(event) {
    const item = event.target.closest("[role=treeitem]");
    if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
    const expanded = item.getAttribute("aria-expanded");
    const all = this.shown();
    const at = all.indexOf(item);
    let handled = true;
    switch (event.key) {
      case "ArrowDown": this.go(all[at + 1]); break;
      case "ArrowUp": this.go(all[at - 1]); break;
      case "Home": this.go(all[0]); break;
      case "End": this.go(all.at(-1)); break;
      case "ArrowRight":
        if (expanded === "false") this.toggle(item);
        else if (expanded === "true") this.go(this.group(item)?.querySelector("[role=treeitem]"));
        break;
      case "ArrowLeft":
        if (expanded === "true") this.toggle(item);
        else this.go(this.around(item));
        break;
      case "Enter":
      case " ":
        if (item.classList.contains("more")) this.page(item);
        else this.choose(item);
        break;
      case "*":
        for (const row of item.parentElement.parentElement.children) {
          const beside = row.firstElementChild;
          if (beside?.getAttribute("aria-expanded") === "false") this.toggle(beside);
        }
        break;
      default:
        handled = event.key.length === 1 && event.key !== "/" ? this.type(event.key, all, at) : false;
    }
    if (handled) event.preventDefault();
  }

  // Letters lead to the next row that begins with them.
  type(letter, all, at) {
    clearTimeout(this.forget);
    this.forget = setTimeout(() => (this.typed = ""), 700);
    this.typed += letter.toLowerCase();
    const from = this.typed.length > 1 ? at : at + 1;
    const around = [...all.slice(from), ...all.slice(0, from)];
    this.go(around.find((item) => item.querySelector("a").textContent.trim().toLowerCase().startsWith(this.typed)));
    return true;
  }

  // The path of a row, as its link has it.
  path(item) {
    return new URL(item.querySelector("a").href).searchParams.get("show") ?? "";
  }

  async toggle(item) {
    const isOpen = item.getAttribute("aria-expanded") === "true";
    let group = this.group(item);
    if (!isOpen && !group) {
      const rows = await this.rows(this.path(item), "");
      if (rows === null || this.group(item)) return;
      group = document.createElement("ul");
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", item.querySelector("a").textContent.trim());
      group.append(rows);
      this.prepare(group);
      item.after(group);
    }
    group.hidden = isOpen;
    item.setAttribute("aria-expanded", String(!isOpen));
  }

  // The rows that a "next" or "before" row stands for take its place.
  async page(item) {
    const asked = new URL(item.querySelector("a").href).searchParams;
    const stand = item.parentElement;
    const isBefore = !stand.previousElementSibling;
    const rows = await this.rows(asked.get("show") ?? "", asked.get("from") ?? "");
    if (rows === null || !item.isConnected) return;
    this.prepare(rows);
    const [first, last] = [rows.firstElementChild, rows.lastElementChild];
    const known = isBefore ? last : first;
    if (known.firstElementChild.classList.contains("more")) known.remove();
    const target = isBefore ? rows.lastElementChild : rows.firstElementChild;
    stand.replaceWith(rows);
    this.go(target.firstElementChild);
  }

  async rows(path, from) {
    const html = await this.fetched(`${this.getAttribute("branch")}?${new URLSearchParams({ path, ...(from ? { from } : {}) })}`);
    if (html === null) return null;
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  }

  async choose(item) {
    const path = this.path(item);
    for (const other of this.tree.querySelectorAll("[aria-selected=true]")) other.setAttribute("aria-selected", "false");
    item.setAttribute("aria-selected", "true");
    const asked = (this.asked = Symbol("asked"));
    const html = await this.fetched(`${this.getAttribute("value")}?${new URLSearchParams({ path })}`);
    if (html === null || asked !== this.asked) return;
    const pane = document.getElementById(this.getAttribute("pane"));
    pane.innerHTML = html;
    const here = new URL(item.querySelector("a").href);
    history.replaceState(history.state, "", here);
    this.keep(path);
  }

  // Older and newer snapshots open with the same value.
  keep(path) {
    for (const link of document.querySelectorAll(".steps-between a")) {
      const to = new URL(link.href);
      to.searchParams.set("show", path);
      link.href = to;
    }
  }

  async fetched(address) {
    try {
      const answer = await fetch(address, { headers: { Accept: "text/html" } });
      if (answer.ok) return await answer.text();
    } catch {
      // Said below: it is the same to whoever looks at it.
    }
    this.say("That could not be fetched. Load the page again.");
    return null;
  }

  say(text) {
    if (!this.said) {
      this.said = document.createElement("p");
      this.said.className = "wrong";
      this.said.setAttribute("role", "alert");
      this.append(this.said);
    }
    this.said.textContent = text;
  }
}

customElements.define("variable-tree", VariableTree);
