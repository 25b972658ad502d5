// The way around: where one is stays in sight, however low the window is.
const nav = document.getElementById("nav");

function show() {
  nav.querySelector('[aria-current="page"]')?.scrollIntoView({ block: "nearest" });
}

if (nav) {
  show();
  nav.addEventListener("toggle", show); // on narrow screens it opens over the page
}
