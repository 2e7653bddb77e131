// The form above the ledger: rows that do not have what is chosen are hidden, and what is chosen
// stands in the address, so that it can be linked to.
"use strict";
(() => {
  const form = document.querySelector("form.lintf-filter");
  if (!form) return;
  const said = form.querySelector("output");
  const sections = [...document.querySelectorAll("section[id^='claims-']")];
  const total = document.querySelectorAll("table.lintf-ledger tbody tr").length;

  function filter() {
    const { verdict, page, paper } = Object.fromEntries(new FormData(form));
    let shown = 0;
    for (const section of sections) {
      let here = 0;
      for (const row of section.querySelectorAll("tbody tr")) {
        const fits =
          (!page || section.id === page) &&
          (!verdict || row.classList.contains(verdict)) &&
          (!paper || row.classList.contains(paper));
        row.hidden = !fits;
        here += fits;
      }
      section.hidden = here === 0;
      shown += here;
    }
    said.textContent = shown === total ? `${total} claims` : `${shown} of ${total} claims`;
  }

  function remember() {
    const chosen = [...new FormData(form)].filter(([, value]) => value);
    const query = new URLSearchParams(chosen).toString();
    try {
      history.replaceState(null, "", query ? `?${query}` : location.pathname);
    } catch {
      // a page that was opened as a file keeps its address
    }
  }

  const asked = new URLSearchParams(location.search);
  for (const select of form.querySelectorAll("select")) {
    const value = asked.get(select.name);
    if ([...select.options].some((option) => option.value === value)) select.value = value;
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => (filter(), remember()));
  form.addEventListener("reset", () => setTimeout(() => (filter(), remember())));
  filter();
})();
