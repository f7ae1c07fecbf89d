
"use strict";
const filter = document.getElementById("filter");
const rows = [...document.querySelectorAll("tbody tr")];
const texts = rows.map((row) => row.firstElementChild.textContent.toLowerCase());
filter.closest("label").hidden = false;
filter.addEventListener("input", () => {
  const wanted = filter.value.trim().toLowerCase();
  rows.forEach((row, n) => row.classList.toggle("off", !texts[n].includes(wanted)));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && event.target !== filter) {
    event.preventDefault();
    filter.focus();
  } else if (event.key === "Escape" && event.target === filter) {
    filter.value = "";
    filter.dispatchEvent(new Event("input"));
  }
});
