"use strict";
(function () {
  const table = document.getElementById("per-image");
  if (!table) return;
  const body = table.tBodies[0];
  const heads = Array.from(table.tHead.rows[0].cells);

  // Values without a number go last in either order.
  function compare(a, b, column, sign) {
    if (column === 0) {
      return sign * a.cells[0].textContent.localeCompare(b.cells[0].textContent, "en", { numeric: true });
    }
    const x = read(a, column), y = read(b, column);
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return x === y ? 0 : sign * (x < y ? -1 : 1);
  }

  function read(row, column) {
    const value = row.cells[column].dataset.value;
    return value === "inf" ? Infinity : Number(value === "nan" ? NaN : value);
  }

  heads.forEach(function (head, column) {
    head.addEventListener("click", function () {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const rows = Array.from(body.rows);
      rows.sort(function (a, b) { return compare(a, b, column, ascending ? 1 : -1); });
      body.append(...rows);
    });
  });

  document.getElementById("filter").addEventListener("input", function (event) {
    const wanted = event.target.value.toLowerCase();
    Array.from(body.rows).forEach(function (row) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    });
  });
})();
