// Tells the page's program what was clicked in its cards or its table; `element` and `trigger` are
// Gradio's. The listener is on the element that stays when its content is replaced.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { image, label, more } = button.dataset;
  if (image !== undefined) {
    for (const other of element.querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
    button.setAttribute("aria-current", "true");
  }
  if (label !== undefined) {
    for (const other of element.querySelectorAll("[data-label]")) other.setAttribute("aria-pressed", String(other === button));
  }
  trigger("select", { image: image === undefined ? null : Number(image), label: label ?? null, more: more ?? null });
});
element.addEventListener("change", (event) => {
  const { tag } = event.target.dataset;
  if (tag !== undefined) trigger("input", { tag, checked: event.target.checked });
});
