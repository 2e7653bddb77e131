// One switch for all folds of code on a page. It is remembered from page to page.
"use strict";
(() => {
  const button = document.querySelector("button.lintf-codes");
  if (!button) return;
  const folds = [...document.querySelectorAll(".lintf-code > details")];
  const said = document.querySelector(".lintf-codes-said");
  const KEY = "lintf-codes";

  function set(open) {
    for (const fold of folds) fold.open = open;
    button.setAttribute("aria-pressed", String(open));
  }

  let stored = null;
  try {
    stored = localStorage.getItem(KEY);
  } catch {
    // without storage every page begins folded
  }
  set(stored === "open");

  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-pressed") !== "true";
    const top = anchor();
    set(open);
    if (top) scrollBy(0, top.element.getBoundingClientRect().top - top.at);
    said.textContent = open ? `${folds.length} pieces of code are shown` : "Code is folded";
    try {
      localStorage.setItem(KEY, open ? "open" : "folded");
    } catch {
      // nothing is remembered
    }
  });

  // What is at the top of the screen stays there while folds above it open and close.
  function anchor() {
    for (const element of document.querySelectorAll("article h2, article p, article figure")) {
      const at = element.getBoundingClientRect().top;
      if (at > 60 && element.offsetParent) return { element, at };
    }
    return null;
  }
})();
