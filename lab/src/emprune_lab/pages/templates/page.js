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

function save(url, name) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}

function fileName(title, ending) {
  return title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") + ending;
}

for (const button of document.querySelectorAll("button.csv")) {
  button.addEventListener("click", () => {
    const table = button.parentNode.previousElementSibling.querySelector("table");
    const quoted = (cell) => `"${cell.textContent.trim().replace(/\s+/g, " ").replace(/"/g, '""')}"`;
    const lines = [...table.rows].map((row) => [...row.cells].map(quoted).join(",") + "\r\n");
    const url = URL.createObjectURL(new Blob(["\ufeff", ...lines], { type: "text/csv" })); // the mark is for spreadsheets
    save(url, fileName(button.dataset.name || document.title, ".csv"));
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
}

for (const button of document.querySelectorAll("button.png")) {
  button.addEventListener("click", async () => {
    const { data, layout } = button.closest("figure").querySelector(".js-plotly-plot");
    const onWhite = { ...layout, paper_bgcolor: "white", plot_bgcolor: "white" };
    const url = await Plotly.toImage({ data, layout: onWhite }, { format: "png", width: 800, height: 480, scale: 2 });
    save(url, fileName(button.closest("figcaption").querySelector("b").textContent, ".png"));
  });
}

for (const part of document.querySelectorAll("details")) {
  part.addEventListener("toggle", () => { // plotly drew what was closed without knowing its width
    if (part.open) part.querySelectorAll(".js-plotly-plot").forEach((figure) => Plotly.Plots.resize(figure));
  });
}
