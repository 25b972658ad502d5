// What the form of a config is answered with must be a part of this page. A session that has ended answers
// with another page: then the form is sent as a form, so that the server keeps it and asks to sign in.
document.addEventListener("htmx:after:request", (event) => {
  const { ctx } = event.detail;
  const id = ctx.target?.id;
  if (id === "draft" && !ctx.text.includes('id="draft"')) {
    event.preventDefault();
    const button = ctx.sourceElement;
    button.form?.requestSubmit(button);
  }
  if (id === "reach" && (ctx.response.raw.redirected || ctx.response.status !== 200)) {
    event.preventDefault();
    const old = document.createElement("p");
    old.className = "wrong";
    old.textContent = "Not up to date: this could not be asked. What you type stays.";
    if (!ctx.target.querySelector(":scope > .wrong")) ctx.target.prepend(old);
  }
});
