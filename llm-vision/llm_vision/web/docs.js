// Puts the example picture into every file field of the page, so that each request can be sent as it stands.
const picture = fetch("/docs/bubble.png")
  .then((answer) => answer.blob())
  .then((blob) => new File([blob], "bubble.png", { type: "image/png" }));

async function fill(input) {
  const chosen = new DataTransfer();
  chosen.items.add(await picture);
  input.files = chosen.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

const filled = new WeakSet();
new MutationObserver(() => {
  for (const input of document.querySelectorAll("input[type=file]")) {
    if (!filled.has(input)) {
      filled.add(input);
      fill(input);
    }
  }
}).observe(document.body, { childList: true, subtree: true });
