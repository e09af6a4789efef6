// Comforts of the Flask-LMS pages. Every page works without it.
const PART = "[data-flms-dialog-part]";
const root = document.getElementById("flms");

root?.classList.add("flms-scripted");

const focusFirst = (within) => {
  const target = within.querySelector("[data-flms-errors]") ?? within.querySelector("h1");
  target?.focus();
};

if (root?.querySelector("[data-flms-errors]")) focusFirst(root);

// -- fields that belong to a choice ---------------------------------------------------------------

const showWhatFits = (within) => {
  for (const part of within.querySelectorAll("[data-flms-when]")) {
    const chosen = part.closest("form").elements[part.dataset.flmsWhen]?.value ?? "";
    const values = part.dataset.flmsValues?.split(" ");
    part.hidden = values ? !values.includes(chosen) : !chosen;
  }
};

if (root) showWhatFits(root);
root?.addEventListener("input", (event) => {
  if (event.target.form) showWhatFits(event.target.form);
});

// -- the two steps of "Create LMS Configuration" as a dialog over the list -----------------------

let dialog;
let hasSaved = false;

const show = async (response, opener) => {
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const part = page.querySelector(PART);
  if (!response.ok || !part) {
    location.assign(response.url);
    return;
  }
  hasSaved ||= !new URL(response.url).pathname.includes("/new");
  if (!dialog) {
    dialog = document.createElement("dialog");
    dialog.className = "flms-dialog";
    dialog.addEventListener("close", () => {
      if (hasSaved) location.reload();
      dialog.remove();
      dialog = undefined;
      opener?.focus();
    });
    root.append(dialog);
  }
  dialog.replaceChildren(document.adoptNode(part));
  dialog.setAttribute("aria-label", part.querySelector("h1")?.textContent ?? "");
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  showWhatFits(dialog);
  focusFirst(dialog);
};

const load = async (url, options, fallback, opener) => {
  try {
    await show(await fetch(url, { credentials: "same-origin", ...options }), opener);
  } catch {
    fallback();
  }
};

root?.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  const opener = target?.closest("[data-flms-dialog]");
  const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0;
  if (opener && plain && "showModal" in HTMLDialogElement.prototype) {
    event.preventDefault();
    load(opener.href, {}, () => location.assign(opener.href), opener);
  } else if (target?.closest("[data-flms-close]") && dialog) {
    event.preventDefault();
    dialog.close();
  }
});

root?.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.flmsSent) {
    event.preventDefault(); // a second click
    return;
  }
  if (form.method === "post") form.dataset.flmsSent = "yes";
  const button = event.submitter;
  button?.setAttribute("aria-busy", "true");
  if (!dialog?.contains(form) || form.dataset.flmsPlain) return;
  event.preventDefault();
  const body = new FormData(form, button);
  const action = button?.getAttribute("formaction") ?? form.getAttribute("action");
  const again = () => {
    delete form.dataset.flmsSent;
    form.dataset.flmsPlain = "yes";
    form.requestSubmit(button);
  };
  load(action, { method: "POST", body }, again);
});

// Back in the browser: the page is as before it was left.
addEventListener("pageshow", () => {
  for (const form of root?.querySelectorAll("form") ?? []) delete form.dataset.flmsSent;
  for (const busy of root?.querySelectorAll("[aria-busy]") ?? []) busy.removeAttribute("aria-busy");
});

// -- lists and statements ------------------------------------------------------------------------

root?.querySelector("[data-flms-every]")?.addEventListener("change", (event) => {
  for (const box of event.target.form.querySelectorAll("input[name=ids]")) {
    box.checked = event.target.checked;
  }
});

for (const button of root?.querySelectorAll("[data-flms-copy]") ?? []) {
  button.addEventListener("click", async () => {
    const label = button.querySelector("span");
    const before = label.textContent;
    await navigator.clipboard.writeText(
      document.getElementById(button.dataset.flmsCopy).textContent,
    );
    label.textContent = button.dataset.flmsDone;
    setTimeout(() => (label.textContent = before), 2000);
  });
}
