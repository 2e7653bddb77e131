// What a reference leads to, shown beside it: equations, figures, claims and papers. Under the mouse after a moment, under
// the keyboard at once; Escape puts it away, and the mouse may move onto it.
"use strict";
(() => {
  const LINKS = "a[href*='#']:not(.headerlink, .lintf-permalink), a[href^='https://arxiv.org/abs/']";
  const KINDS = "div.math, figure, .lintf-claim, .citation";
  const article = document.querySelector("article");
  if (!article) return;
  const pages = new Map(); // address -> promise of the page
  let card = null;
  let shown = null; // the link whose card is open
  let timer = null;

  function other(address) {
    if (!pages.has(address)) {
      const page = fetch(address)
        .then((answer) => (answer.ok ? answer.text() : ""))
        .then((text) => new DOMParser().parseFromString(text, "text/html"));
      pages.set(address, page);
    }
    return pages.get(address);
  }

  function reference(link) {
    const item = [...document.querySelectorAll("#references li")].find((entry) =>
      [...entry.querySelectorAll("a")].some((a) => a.href === link.href),
    );
    return item && !item.contains(link) ? item : null;
  }

  async function target(link) {
    if (link.origin !== location.origin) return reference(link);
    const here = link.pathname === location.pathname;
    if (!here && !location.protocol.startsWith("http")) return null; // no fetching of files
    const page = here ? document : await other(link.href.split("#")[0]);
    const found = page.getElementById(decodeURIComponent(link.hash.slice(1)));
    return found?.closest(KINDS) ?? null;
  }

  function copy(element, address) {
    const clone = element.cloneNode(true);
    for (const part of [clone, ...clone.querySelectorAll("*")]) {
      part.removeAttribute("id");
      part.removeAttribute("tabindex");
    }
    clone.querySelectorAll(".headerlink, .lintf-permalink, script").forEach((part) => part.remove());
    for (const image of clone.querySelectorAll("img")) {
      image.src = new URL(image.getAttribute("src"), address).href;
      image.loading = "eager";
    }
    return clone;
  }

  async function show(link) {
    const found = await target(link).catch(() => null);
    const typeset = found?.querySelector?.("mjx-container");
    if (!found || shown !== link) return;
    if (found.matches("div.math") && !typeset && !window.MathJax?.typesetPromise) return;
    card ??= make();
    card.replaceChildren(copy(found, link.origin === location.origin ? link.href : location.href));
    card.hidden = false;
    if (!typeset && found.ownerDocument !== document) await window.MathJax?.typesetPromise?.([card]);
    link.setAttribute("aria-describedby", card.id);
    place(link);
  }

  function make() {
    const made = document.createElement("div");
    made.id = "lintf-preview";
    made.className = "lintf-preview cell_output";
    made.setAttribute("role", "tooltip");
    made.addEventListener("pointerenter", () => clearTimeout(timer));
    made.addEventListener("pointerleave", () => soon(hide, 200));
    article.append(made);
    return made;
  }

  function place(link) {
    const line = link.getClientRects()[0];
    const box = card.getBoundingClientRect();
    const frame = card.offsetParent.getBoundingClientRect();
    const left = Math.max(8, Math.min(line.left, innerWidth - box.width - 16));
    const below = line.bottom + 6;
    const fits = below + box.height <= innerHeight || line.top < box.height + 70;
    const top = fits ? below : line.top - box.height - 6;
    card.style.left = `${left - frame.left}px`;
    card.style.top = `${top - frame.top}px`;
  }

  function hide() {
    clearTimeout(timer);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    if (card) card.hidden = true;
  }

  function soon(action, wait) {
    clearTimeout(timer);
    timer = setTimeout(action, wait);
  }

  function open(link, wait) {
    if (link === shown) return clearTimeout(timer);
    soon(() => {
      hide();
      shown = link;
      show(link);
    }, wait);
  }

  const linkOf = (event) => (event.target.closest?.(".lintf-preview") ? null : event.target.closest?.(LINKS));
  article.addEventListener("pointerover", (event) => {
    const link = linkOf(event);
    if (link && event.pointerType === "mouse") open(link, 250);
  });
  article.addEventListener("pointerout", (event) => {
    if (linkOf(event) && event.pointerType === "mouse") soon(hide, 200);
  });
  article.addEventListener("focusin", (event) => {
    const link = linkOf(event);
    if (link?.matches(":focus-visible")) open(link, 0);
  });
  article.addEventListener("focusout", (event) => linkOf(event) && soon(hide, 100));
  addEventListener("keydown", (event) => event.key === "Escape" && hide());
})();
