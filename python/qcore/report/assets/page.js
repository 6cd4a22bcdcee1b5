"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const merged = (spec) => {
    const config = structuredClone(data.themes[theme()]);
    for (const [key, value] of Object.entries(spec.config || {}))
      config[key] = { ...config[key], ...value };
    return config;
  };
  const views = new Map();

  async function draw(place, spec) {
    const options = { renderer: "svg", config: merged(spec), downloadFileName: place.id || place.parentElement.id,
      actions: { export: true, source: false, compiled: false, editor: false } };
    views.get(place)?.finalize();
    const drawn = await vegaEmbed(place, { ...spec, config: undefined }, options);
    views.set(place, drawn);
    // A plot as narrow as on a phone has numbers for names: see trade_off.py.
    const fit = () => place.parentElement.classList.toggle("narrow", drawn.view.width() < 400);
    drawn.view.addSignalListener("width", fit);
    fit();
  }
  const drawAll = () => Promise.all(data.figures.map((f) => draw(document.querySelector(`#${CSS.escape(f.id)} .plot`), f.spec)));

  // Numbers, as people write them.
  const bytes = (n) => {
    for (const unit of ["B", "kB", "MB", "GB"]) {
      if (n < 999.5 || unit === "GB") return `${unit === "B" ? n : n.toPrecision(3)} ${unit}`;
      n /= 1000;
    }
  };
  const percent = (x) => (x == null ? "" : `${(100 * x).toFixed(1)} %`);
  const decibel = (t) => (t.exact ? "exact" : t.sqnr == null ? "" : t.sqnr === -999 ? "−∞" : t.sqnr.toFixed(1));
  const tone = (t) => (t.exact || t.sqnr == null ? "exact" : t.adjusted || t.sqnr >= 20 ? "" : t.sqnr >= 10 ? "warn" : "bad");
  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  function spark(t) {
    if (!t.hist) return "";
    const [before, after] = t.hist, most = Math.sqrt(Math.max(...before, ...after));
    const path = (shares) => shares.map((s, i) => (s ? `M${2 * i} 26v${(-26 * Math.sqrt(s) / most).toFixed(1)}h2v${(26 * Math.sqrt(s) / most).toFixed(1)}` : "")).join("");
    const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    picture.setAttribute("class", "spark");
    picture.setAttribute("viewBox", `0 0 ${2 * before.length} 26`);
    picture.setAttribute("preserveAspectRatio", "none");
    picture.innerHTML = `<path class="b" d="${path(before)}"/><path class="a" d="${path(after)}"/>`;
    return picture;
  }

  function histogram(t) {
    const [low, high] = t.range, step = (high - low) / t.hist[0].length, spec = structuredClone(data.histogram);
    spec.layer.forEach((layer, index) => {
      const state = ["before", "after"][index];
      layer.encoding.x.scale.domain = [low, high];
      layer.data.values = t.hist[index].map((share, i) => ({ left: low + i * step, right: low + (i + 1) * step, share, state }));
    });
    return spec;
  }

  function zeros(t) {
    const figure = document.getElementById("chosen-zeros");
    figure.hidden = !t.map;
    if (!t.map) return;
    const [rows, columns, text] = t.map, canvas = figure.querySelector("canvas"), shades = atob(text);
    canvas.width = columns;
    canvas.height = rows;
    const pen = canvas.getContext("2d"), style = getComputedStyle(root);
    pen.fillStyle = style.getPropertyValue("--page");
    pen.fillRect(0, 0, columns, rows);
    pen.fillStyle = style.getPropertyValue("--after");
    for (let i = 0; i < shades.length; i++) {
      pen.globalAlpha = shades.charCodeAt(i) / 255;
      pen.fillRect(i % columns, Math.floor(i / columns), 1, 1);
    }
  }

  let chosen = null;
  function choose(t) {
    chosen = t;
    document.getElementById("chosen-name").textContent = t.name;
    const facts = [["shape", t.shape], ["before", t.from], ["after", t.to], ["bytes", `${bytes(t.bytes[0])} → ${bytes(t.bytes[1])}`],
      ["SQNR", t.exact ? "exact" : t.sqnr == null ? "" : `${decibel(t)} dB`], ["cosine", t.cosine?.toPrecision(5) ?? ""],
      ["greatest error", t.worst?.toPrecision(3) ?? ""], ["zeros", percent(t.zeros)]];
    document.getElementById("chosen-facts").replaceChildren(
      ...facts.filter(([, value]) => value).map(([key, value]) => element("div", {}, element("dt", {}, key), element("dd", {}, value))));
    const place = document.getElementById("chosen-histogram");
    if (t.hist) draw(place, histogram(t));
    else { views.get(place)?.finalize(); views.delete(place); place.replaceChildren(); }
    zeros(t);
    document.querySelectorAll(".chosen-row").forEach((row) => row.classList.remove("chosen-row"));
    t.row.classList.add("chosen-row");
  }

  function fillTable() {
    const body = document.querySelector("#tensors tbody");
    if (!body) return;
    const most = Math.max(...data.tensors.map((t) => t.bytes[0]), 1);
    for (const t of data.tensors) {
      const bar = element("i", { style: `width:${Math.min(100, 100 * t.bytes[1] / Math.max(t.bytes[0], 1)).toFixed(1)}%` });
      const whole = element("span", { class: "bar", style: `width:${Math.max(3, 72 * Math.sqrt(t.bytes[0] / most)).toFixed(0)}px` }, bar);
      t.row = element("tr", { tabindex: "0" },
        element("td", { class: "name" }, t.name, element("small", {}, t.shape)),
        element("td", { class: "wide" }, t.to, element("small", {}, `from ${t.from}`)),
        element("td", { class: "number" }, bytes(t.bytes[1]), whole),
        element("td", { class: "number" }, element("span", { class: `dot ${tone(t)}` }), decibel(t)),
        element("td", { class: "number wide" }, percent(t.zeros)),
        element("td", {}, spark(t)));
      t.row.addEventListener("click", () => choose(t));
      t.row.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(t); });
    }
    const worth = { name: (t) => t.name, to: (t) => t.to, bytes: (t) => -t.bytes[1], sqnr: (t) => (t.exact ? 1e9 : t.adjusted ? 1e6 + (t.sqnr ?? 0) : t.sqnr ?? 1e8), zeros: (t) => -(t.zeros ?? 0) };
    const heads = document.querySelectorAll("#tensors th[data-key]");
    const sort = (key, down) => {
      const compare = (a, b) => { const x = worth[key](a), y = worth[key](b); return x < y ? -1 : x > y ? 1 : 0; };
      const rows = [...data.tensors].sort((a, b) => (down ? -1 : 1) * compare(a, b));
      body.replaceChildren(...rows.map((t) => t.row));
      heads.forEach((head) => head.classList.remove("up", "down"));
      document.querySelector(`#tensors th[data-key=${key}]`).classList.add(down ? "down" : "up");
      return rows;
    };
    heads.forEach((head) => head.addEventListener("click", () => sort(head.dataset.key, head.classList.contains("up"))));
    const rows = sort("sqnr", false);
    choose(rows.find((t) => t.hist) ?? rows[0]);
  }

  const redraw = () => { drawAll(); if (chosen) choose(chosen); };
  document.getElementById("theme").addEventListener("click", () => { root.dataset.theme = theme() === "dark" ? "light" : "dark"; redraw(); });
  system.addEventListener("change", redraw);
  drawAll().then(() => { fillTable(); root.dataset.ready = "yes"; });
})();
