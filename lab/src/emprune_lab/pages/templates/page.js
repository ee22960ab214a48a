"use strict";

function sortValue(text) {
  const found = text.replace(/[−–]/g, "-").match(/[-+]?\d[\d,]*\.?\d*/);
  return found ? parseFloat(found[0].replace(/,/g, "")) : null;
}

function sortTable(head) {
  const place = [...head.parentNode.children].indexOf(head);
  const body = head.closest("table").tBodies[0];
  const byText = place === 0;
  const down = head.getAttribute("aria-sort") === "none" ? !byText : head.getAttribute("aria-sort") === "ascending";
  const cells = (row) => row.children[place].textContent.trim();
  const rows = [...body.rows];
  const numeric = !byText && rows.some((row) => sortValue(cells(row)) !== null);
  rows.sort((one, other) => {
    if (!numeric) return cells(one).localeCompare(cells(other)) * (down ? -1 : 1);
    const [a, b] = [sortValue(cells(one)), sortValue(cells(other))];
    if (a === null || b === null) return (a === null) - (b === null);
    return (a - b) * (down ? -1 : 1);
  });
  for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...rows);
}

for (const button of document.querySelectorAll("table.sortable thead th button")) {
  button.addEventListener("click", () => sortTable(button.closest("th")));
}

for (const box of document.querySelectorAll(".legend input")) {
  box.addEventListener("change", () => {
    for (const figure of box.closest("section").querySelectorAll(".js-plotly-plot")) {
      const own = figure.data.flatMap((trace, place) => (trace.meta === box.value ? [place] : []));
      if (!own.length) continue;
      const others = figure.data.some((trace) => trace.meta && trace.meta !== box.value);
      if (others) {
        Plotly.restyle(figure, { visible: box.checked }, own);
      } else {
        figure.closest("figure").hidden = !box.checked;
        if (box.checked) Plotly.Plots.resize(figure); // the window may have changed meanwhile
      }
    }
  });
}
