// Comforts of the Flask-LMS pages. Every page works without it.
const root = document.getElementById("flms");
const parse = (html) => new DOMParser().parseFromString(html, "text/html");
const all = (within, selector) => [...within.querySelectorAll(selector)];

const focusFirst = (within) => {
  const target = within.querySelector("[data-flms-errors]") ?? within.querySelector("h1");
  target?.focus();
};

// -- times in the reader's own zone; the server's words on hover

const localize = (within) => {
  for (const one of all(within, "time[data-flms-time]")) {
    const lang = root?.lang || document.documentElement.lang || "en";
    const language = navigator.languages.find((own) => own.startsWith(lang.slice(0, 2))) ?? lang;
    const clock = { hour: "2-digit", minute: "2-digit" };
    const full = { day: "numeric", month: "short", year: "numeric", ...clock };
    one.title = one.textContent;
    one.textContent = new Intl.DateTimeFormat(
      language,
      one.dataset.flmsTime === "clock" ? clock : full,
    ).format(new Date(one.dateTime));
  }
};

// -- fields that belong to a choice

const showWhatFits = (within) => {
  for (const part of all(within, "[data-flms-when]")) {
    const chosen = part.closest("form").elements[part.dataset.flmsWhen]?.value ?? "";
    const values = part.dataset.flmsValues?.split(" ");
    part.hidden = values ? !values.includes(chosen) : !chosen;
  }
};

if (root) showWhatFits(root);
root?.addEventListener("input", (event) => {
  if (event.target.form) showWhatFits(event.target.form);
});

// -- one tree becomes another: focus, selections, ticks and what is unfolded stay

const keyOf = (node) =>
  node?.id || node?.getAttribute?.("formaction") || node?.getAttribute?.("href") || "";

const morph = (old, fresh) => {
  if (old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const name of old.getAttributeNames()) {
    if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const name of fresh.getAttributeNames()) {
    const value = fresh.getAttribute(name);
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const keys = new Set([...fresh.children].map(keyOf));
  const known = new Map([...old.children].map((one) => [keyOf(one), one]));
  const isTicked = (node) => node.querySelector?.(":checked");
  let at = old.firstChild;
  const skip = () => {
    const next = at.nextSibling;
    if (!isTicked(at)) at.remove();
    at = next;
  };
  for (const child of [...fresh.childNodes]) {
    while (keyOf(at) && !keys.has(keyOf(at))) skip();
    const key = keyOf(child);
    const same = key ? known.get(key) : keyOf(at) ? undefined : at;
    known.delete(key);
    while (key && same && at && at !== same && !keyOf(at)) skip();
    if (same && same === at) at = at.nextSibling;
    else old.insertBefore(same ?? child, at);
    if (same) morph(same, child);
  }
  while (at) skip();
};

// -- what changes on a page is looked at while somebody sees it

const heard = document.getElementById("flms-said");
let etag = "";
let shown = root?.dataset.flmsSaid;
let timer;

const look = async () => {
  const url = new URL(location.href);
  url.searchParams.set("live", "1");
  const answer = await fetch(url, {
    cache: "no-store",
    headers: etag ? { "If-None-Match": etag } : {},
  });
  if (answer.status === 304) return;
  const fresh = answer.ok && parse(await answer.text()).getElementById("flms");
  if (!fresh?.dataset.flmsEvery) {
    delete root.dataset.flmsEvery; // signed out, or gone
    return;
  }
  etag = answer.headers.get("ETag") ?? "";
  localize(fresh);
  for (const part of all(fresh, "[data-flms-live]")) {
    const old = document.getElementById(part.id);
    if (old) morph(old, part);
  }
  countChosen();
  root.dataset.flmsEvery = fresh.dataset.flmsEvery;
  if (shown !== fresh.dataset.flmsSaid) heard.textContent = fresh.dataset.flmsSaid;
  shown = fresh.dataset.flmsSaid;
};

const goOn = (soon) => {
  clearTimeout(timer);
  const every = Number(root?.dataset.flmsEvery);
  if (!every || document.hidden) return;
  timer = setTimeout(() => look().catch(() => {}).finally(() => goOn()), soon ? 0 : every * 1000);
};

document.addEventListener("visibilitychange", () => goOn(true));

// -- the steps of "Create LMS Configuration" as a dialog, and reports on the page they belong to

const PART = "[data-flms-dialog-part]";
const REPORT = "[data-flms-report]";
const typed = new Map(); // what the server never sends back: secrets, while this page is open
let dialog;
let hasSaved = false;

const keepTyped = (within) => {
  for (const one of all(within, "input[type=password]")) typed.set(one.name, one.value);
};

const show = (part, opener) => {
  if (!dialog) {
    dialog = document.createElement("dialog");
    dialog.className = "flms-dialog";
    dialog.addEventListener("close", () => {
      if (hasSaved) location.reload();
      dialog.remove();
      dialog = undefined;
      typed.clear();
      opener?.focus();
    });
    root.append(dialog);
  }
  dialog.replaceChildren(part);
  dialog.setAttribute("aria-label", part.querySelector("h1")?.textContent ?? "");
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  showWhatFits(dialog);
  focusFirst(dialog);
};

// Reads a page as it comes; what is found in it is given on with each piece.
const read = async (answer, selector, found) => {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let html = "";
  let last;
  for (;;) {
    const { done, value } = await reader.read();
    html += value ?? "";
    const page = parse(html);
    const part = page.querySelector(selector);
    localize(page);
    if (part) found((last = part));
    if (done) return last;
  }
};

const open = async (url, options, opener) => {
  const answer = await fetch(url, options);
  let isShown = false;
  const part = await read(answer, PART, (piece) => {
    hasSaved ||= !new URL(answer.url).pathname.includes("/new");
    const now = document.adoptNode(piece);
    if (isShown) morph(dialog.querySelector(PART), now);
    else show(now, opener);
    isShown = true;
  });
  if (!answer.ok || !part) location.assign(answer.url);
  for (const one of all(dialog, "input[type=password]")) one.value ||= typed.get(one.name) ?? "";
};

// The report of a test alone is renewed; what was typed stays as it is.
const report = async (url, options, place) => {
  const answer = await fetch(url, options);
  const part = await read(answer, `${REPORT}, [data-flms-errors]`, (found) => {
    const fresh = place.cloneNode();
    fresh.append(...(found.matches(REPORT) ? found.childNodes : [found]));
    morph(place, fresh);
  });
  if (!part) location.assign(answer.url);
  place.scrollIntoView({ block: "nearest" });
  goOn(true);
};

const busy = (form, button) => {
  form.dataset.flmsSent = "yes";
  button?.setAttribute("aria-busy", "true");
};
const free = (within) => {
  for (const form of all(within, "form")) delete form.dataset.flmsSent;
  for (const one of all(within, "[aria-busy]")) one.removeAttribute("aria-busy");
};

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  const opener = target?.closest("[data-flms-dialog]");
  const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0;
  if (opener && plain && root) {
    event.preventDefault();
    open(opener.href, {}, opener).catch(() => location.assign(opener.href));
  } else if (target?.closest("[data-flms-close]") && dialog) {
    event.preventDefault();
    dialog.close();
  }
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  const button = event.submitter;
  if (!form.closest(".flms") || form.method !== "post") return;
  if (form.dataset.flmsSent) {
    event.preventDefault(); // a second click
    return;
  }
  busy(form, button);
  const place = (dialog ?? root)?.querySelector(REPORT);
  const isReport = place && button?.hasAttribute("data-flms-reports");
  if (form.dataset.flmsPlain || !(isReport || dialog?.contains(form))) return;
  event.preventDefault();
  keepTyped(form);
  const body = new FormData(form, button);
  const url = button?.getAttribute("formaction") ?? form.getAttribute("action");
  const options = { method: "POST", body };
  (isReport ? report(url, options, place) : open(url, options))
    .catch(() => {
      free(document);
      form.dataset.flmsPlain = "yes";
      form.requestSubmit(button);
    })
    .finally(() => free(root));
});

// Back in the browser: the page is as before it was left.
addEventListener("pageshow", () => free(document));

// -- lists, drop-downs and statements

// What the acts on the chosen rows would do, before they can be pressed.
const countChosen = () => {
  for (const bar of document.querySelectorAll("[data-flms-bulk]")) {
    const form = bar.closest("form");
    const boxes = all(form, "input[name=ids]");
    const every = form.elements.all?.checked;
    for (const button of all(bar, "button[data-flms-act]")) {
      const act = button.dataset.flmsAct;
      const n = boxes.filter((box) => box.checked && box.dataset.flmsActs?.includes(act)).length;
      button.disabled = !every && !n;
      button.querySelector("[data-flms-n]").textContent = every || !n ? "" : ` (${n})`;
    }
  }
};

document.addEventListener("change", ({ target }) => {
  if (target.matches("[data-flms-every-row]")) {
    for (const box of all(target.form, "input[name=ids]")) box.checked = target.checked;
  }
  if (target.matches("input[type=checkbox]")) countChosen();
});

document.addEventListener("input", ({ target }) => {
  if (!target.matches("[data-flms-find]")) return;
  const words = target.value.toLowerCase();
  for (const one of all(target.closest("details"), "[data-flms-found]")) {
    one.hidden = !one.textContent.toLowerCase().includes(words);
  }
});

document.addEventListener("click", async ({ target }) => {
  const button = target.closest?.("[data-flms-copy]");
  if (!button) return;
  const { flmsCopy, flmsDone } = button.dataset;
  await navigator.clipboard.writeText(document.getElementById(flmsCopy).textContent.trim());
  const label = button.querySelector("span");
  const before = label.textContent;
  label.textContent = flmsDone;
  setTimeout(() => (label.textContent = before), 2000);
});

for (const one of document.querySelectorAll(".flms")) {
  one.classList.add("flms-scripted");
  localize(one);
}
if (root?.querySelector("[data-flms-errors]")) focusFirst(root);
countChosen();
goOn();
