// Wide equations and tables scroll in their box: with the keyboard too, where they are wider than it.
"use strict";
(() => {
  const WIDE = "mjx-container[display], .pst-scrollable-table-container, .cell_output .text_html";

  function reachable() {
    for (const box of document.querySelectorAll(WIDE)) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  let waiting = null;
  const later = () => {
    clearTimeout(waiting);
    waiting = setTimeout(reachable, 200);
  };
  addEventListener("load", () => {
    const typeset = window.MathJax?.startup?.promise ?? Promise.resolve();
    typeset.then(later);
    addEventListener("resize", later);
    document.addEventListener("toggle", later, true); // a fold was opened
  });
})();
