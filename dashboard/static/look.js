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

// An object to turn. Its file is a script that calls turnCloud or turnMesh, which say how it is drawn; it is drawn
// unless another was asked for, or none any more, while it was loaded.
const turned = document.getElementById("turned");
let wanted, draws;

function load(file) {
  return new Promise((done) => {
    const script = document.createElement("script");
    Object.assign(script, { src: file, onload: () => done(script), onerror: () => done(script) });
    document.head.append(script);
  });
}

function turnCloud({ data, layout }) {
  Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)" });
  const options = { responsive: true, displaylogo: false, displayModeBar: false };
  draws = () => Plotly.newPlot(turned.querySelector("div"), data, layout, options);
}

function turnMesh(content) {
  draws = () => drawMesh(content);
}

function drawMesh(content) {
  const bundle = "model-viewer.min.js"; // the element becomes one once it is there
  if (!document.querySelector(`script[src="${bundle}"]`)) load(bundle);
  const viewer = document.createElement("model-viewer");
  const looks = { "camera-controls": "", "camera-orbit": "20deg 60deg 105%", "interaction-prompt": "none" };
  for (const [name, value] of Object.entries(looks)) viewer.setAttribute(name, value);
  viewer.setAttribute("alt", turned.querySelector("p").textContent);
  viewer.setAttribute("src", `data:model/gltf-binary;base64,${content}`);
  turned.querySelector("div").replaceChildren(viewer);
}

for (const button of document.querySelectorAll("[data-object]")) {
  button.addEventListener("click", async () => {
    turned.querySelector("p").textContent = button.dataset.said;
    turned.querySelector("div").replaceChildren();
    turned.showModal();
    wanted = button;
    draws = undefined;
    (await load(button.dataset.object)).remove();
    if (wanted === button && draws) draws();
  });
}
if (turned) {
  turned.addEventListener("close", () => {
    wanted = undefined;
    turned.querySelector("div").replaceChildren();
  });
}
