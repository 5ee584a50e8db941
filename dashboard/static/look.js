// Draws the figures that stand as JSON in the page, in its light or dark colours; those inside a fold once it is opened.
const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Set();

function draw(place) {
  const { data, layout } = JSON.parse(document.getElementById(place.dataset.figure).textContent);
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim(), grid = style.getPropertyValue("--grid").trim();
  const none = "rgba(0,0,0,0)";
  Object.assign(layout, { paper_bgcolor: none, plot_bgcolor: none, font: { color: ink, family: "system-ui, sans-serif" } });
  for (const name of Object.keys(layout)) {
    if (/^[xy]axis/.test(name)) Object.assign(layout[name], { gridcolor: grid, zerolinecolor: grid });
  }
  for (const trace of data) {
    if (trace.textfont) trace.textfont.color = ink;
    if (trace.unselected && trace.unselected.textfont) trace.unselected.textfont.color = ink;
  }
  drawn.add(place);
  Plotly.react(place, data, layout, { responsive: true, displaylogo: false, displayModeBar: innerWidth > 600 });
}

for (const place of document.querySelectorAll(".figure")) {
  const fold = place.closest("details");
  if (!fold || fold.open) draw(place);
  else fold.addEventListener("toggle", () => fold.open && !drawn.has(place) && draw(place));
}
dark.addEventListener("change", () => drawn.forEach(draw));
const asked = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
if (asked && asked.tagName === "DETAILS") asked.open = true;
