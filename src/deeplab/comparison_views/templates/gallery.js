// The gallery: a canvas on which two layers are wiped over each other. Layers are label maps, one grey value a class.
const gallery = readJson("gallery-data");
if (gallery.pictures.length) {
  const VOID = 255;
  const MISTAKE = [230, 30, 60];
  const canvas = $("#canvas");
  const decoded = new Map(); // "picture layer" -> {width, height, labels} or an image
  let shown = []; // indices of the pictures in the chosen order
  let current = 0; // a place in `shown`
  let planes = {}; // the current picture's decoded layers
  let tinted = new Map(); // its layers as canvases, for the present opacity and mode

  const picture = () => gallery.pictures[shown[current]];
  const final = (each) => each.after.map((value, index) => value ?? each.before[index]);
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const gain = (each) => mean(each.after.map((value, index) => (value ?? each.before[index]) - each.before[index]));
  const ranks = {
    differ: (each) => Math.max(...final(each)) - Math.min(...final(each)),
    worst: (each) => -mean(final(each)),
    helped: gain,
    hurt: (each) => -gain(each),
  };
  const className = (label) => label === VOID ? "void" : gallery.class_names[label] ?? `class ${label}`;
  // A class whose colour is black, VOC's background, leaves the picture as it is.
  const isGround = (label) => colour(label).every((value) => value === 0);
  const colour = (label) => label === VOID ? [224, 224, 192] : gallery.palette[label] ?? [128, 128, 128];

  function load(url) {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error("a picture of the page cannot be decoded"));
      image.src = url;
    });
  }
  async function plane(index, key) {
    const name = `${index} ${key}`;
    if (!decoded.has(name)) {
      const each = gallery.pictures[index];
      const image = await load(key === "photo" ? each.image : each.layers[key]);
      if (key === "photo") {
        decoded.set(name, image);
      } else {
        const surface = new OffscreenCanvas(image.width, image.height);
        const context = surface.getContext("2d", { willReadFrequently: true });
        context.drawImage(image, 0, 0);
        const pixels = context.getImageData(0, 0, image.width, image.height).data;
        const labels = new Uint8Array(pixels.length / 4);
        for (let at = 0; at < labels.length; at++) labels[at] = pixels[4 * at];
        decoded.set(name, { width: image.width, height: image.height, labels });
      }
    }
    return decoded.get(name);
  }
  function tint(key) {
    if (!tinted.has(key)) tinted.set(key, paint(key));
    return tinted.get(key);
  }
  function paint(key) {
    const { width, height } = size();
    const surface = new OffscreenCanvas(width, height);
    const context = surface.getContext("2d");
    if (planes.photo) context.drawImage(planes.photo, 0, 0, width, height);
    const map = planes[key];
    if (key === "photo" || !map) return surface;
    const opacity = planes.photo ? $("#opacity").value * 2.55 : 255;
    const truth = $("#mistakes").checked && !$("#mistakes").disabled ? planes.truth : null;
    const over = new ImageData(map.width, map.height);
    const pixels = new Uint32Array(over.data.buffer);
    const inks = inkOfLabels(truth ? () => MISTAKE : colour, opacity, planes.photo && !truth);
    for (let at = 0; at < pixels.length; at++) {
      const label = map.labels[at];
      if (!truth || (truth.labels[at] !== VOID && truth.labels[at] !== label)) pixels[at] = inks[label];
    }
    const layer = new OffscreenCanvas(map.width, map.height);
    layer.getContext("2d").putImageData(over, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(layer, 0, 0, width, height);
    return surface;
  }
  // What a pixel of each label is painted with, as the four bytes of a canvas.
  function inkOfLabels(colourOf, opacity, leaveGround) {
    const bytes = new Uint8ClampedArray(4 * 256);
    for (let label = 0; label < 256; label++) {
      bytes.set([...colourOf(label), leaveGround && isGround(label) ? 0 : opacity], 4 * label);
    }
    return new Uint32Array(bytes.buffer);
  }
  function size() {
    const map = Object.entries(planes).find(([key, each]) => key !== "photo" && each)?.[1];
    return map ?? { width: planes.photo?.width ?? 300, height: planes.photo?.height ?? 200 };
  }
  function redrawStage() {
    const { width, height } = size();
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const edge = Math.round(width * $("#wipe").value / 1000);
    context.drawImage(tint($("#left").value), 0, 0);
    if (edge < width) context.drawImage(tint($("#right").value), edge, 0, width - edge, height, edge, 0, width - edge, height);
    const line = width / Math.max(1, canvas.clientWidth); // a pixel of the screen
    context.fillStyle = "#fff";
    context.fillRect(edge - line, 0, 2 * line, height);
    context.fillStyle = "#000";
    context.fillRect(edge + line, 0, line, height);
  }
  function redrawLayers() {
    for (const button of $$("#layers button")) {
      const surface = tint(button.dataset.key);
      const small = $("canvas", button);
      Object.assign(small, { width: surface.width, height: surface.height });
      small.getContext("2d").drawImage(surface, 0, 0);
      button.setAttribute("aria-pressed", [$("#left").value, $("#right").value].includes(button.dataset.key));
    }
  }
  function repaint() {
    tinted = new Map();
    redrawStage();
    redrawLayers();
  }
  async function show(place) {
    if (!shown.length) return;
    current = (place + shown.length) % shown.length;
    const index = shown[current];
    const each = gallery.pictures[index];
    const keys = [...(each.image ? ["photo"] : []), ...Object.keys(each.layers)];
    const loaded = Object.fromEntries(await Promise.all(keys.map(async (key) => [key, await plane(index, key)])));
    if (shown[current] !== index) return; // another was chosen meanwhile
    planes = loaded;
    const lacking = !planes.truth ? "truth" : Object.keys(planes).every((key) => key === "photo" || key === "truth") ? "prediction" : "";
    $("#mistakes").disabled = lacking !== "";
    $("#mistakes").parentElement.title = lacking && `The page has no ${lacking} for this picture`;
    $("#picture-name").textContent = each.id;
    $("#position").textContent = `${current + 1} of ${shown.length}`;
    $("#missing").hidden = !each.missing.length;
    $("#missing").textContent = each.missing.join("; ");
    fillLayers(each);
    fillLegend();
    repaint();
    for (const button of $$("#thumbs button")) {
      const chosen = button.dataset.index === String(index);
      button.setAttribute("aria-selected", chosen);
      button.tabIndex = chosen ? 0 : -1; // one stop of the Tab key for all pictures; the arrows go through them
    }
    const chosen = $('#thumbs [aria-selected="true"]');
    if (chosen) $("#thumbs").scrollLeft = chosen.offsetLeft - $("#thumbs").offsetLeft - 60;
  }
  function element(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }
  function swatch(label) {
    const made = element("span", { className: "swatch" });
    made.style.background = `rgb(${colour(label).join(",")})`;
    return made;
  }
  function scoreOf(each, layer) {
    if (layer.variant === null) return "";
    const at = gallery.variants.indexOf(layer.variant);
    const value = layer.key.endsWith("c") ? each.after[at] : each.before[at];
    return value === null ? "" : ` · ${(100 * value).toFixed(1)} %`;
  }
  function fillLayers(each) {
    const layers = [...(each.image ? [{ key: "photo", name: "picture", variant: null }] : []), ...gallery.layers];
    $("#layers").replaceChildren(...layers.filter((layer) => layer.key in planes).map((layer) => {
      const button = element("button", { type: "button", title: "Show on the right" }, element("canvas"),
        layer.name + scoreOf(each, layer));
      button.dataset.key = layer.key;
      button.addEventListener("click", () => { $("#right").value = layer.key; redrawStage(); redrawLayers(); });
      return button;
    }));
  }
  function fillLegend() {
    const counts = new Uint32Array(256);
    for (const [key, map] of Object.entries(planes)) {
      if (key !== "photo") for (let at = 0; at < map.labels.length; at++) counts[map.labels[at]]++;
    }
    const labels = [...counts.keys()].filter((label) => counts[label]).sort((a, b) => counts[b] - counts[a]);
    $("#legend").replaceChildren(...labels.map((label) => {
      const item = element("li", {}, swatch(label), className(label));
      item.dataset.label = label;
      return item;
    }));
  }
  function point(event) {
    const box = canvas.getBoundingClientRect();
    const { width, height } = size();
    const scale = Math.min(box.width / width, box.height / height); // object-fit: contain
    const left = (box.width - width * scale) / 2, top = (box.height - height * scale) / 2;
    const x = Math.floor((event.clientX - box.left - left) / scale), y = Math.floor((event.clientY - box.top - top) / scale);
    return { x, y, inside: x >= 0 && y >= 0 && x < width && y < height, width };
  }
  function hover(event) {
    const { x, y, inside, width } = point(event);
    if (event.buttons === 1) {
      $("#wipe").value = Math.round(1000 * Math.min(1, Math.max(0, x / width)));
      redrawStage();
    }
    const tip = $("#tip");
    tip.hidden = !inside;
    if (!inside) return;
    const here = new Set();
    const rows = gallery.layers.filter((layer) => planes[layer.key]).map((layer) => {
      const label = planes[layer.key].labels[y * planes[layer.key].width + x];
      here.add(String(label));
      return element("div", {}, swatch(label), `${layer.name}: ${className(label)}`);
    });
    tip.replaceChildren(...rows);
    const box = canvas.getBoundingClientRect();
    const beside = event.clientX - box.left;
    tip.style.left = beside > box.width / 2 ? "auto" : `${beside + 16}px`;
    tip.style.right = beside > box.width / 2 ? `${box.width - beside + 16}px` : "auto";
    tip.style.top = `${Math.max(0, event.clientY - box.top - 20)}px`;
    for (const item of $$("#legend li")) item.classList.toggle("here", here.has(item.dataset.label));
  }
  function order() {
    const only = $("#with-class").value;
    const by = $("#order").value;
    shown = gallery.pictures.map((_, index) => index)
      .filter((index) => only === "" || gallery.pictures[index].classes.includes(Number(only)));
    if (by !== "name") {
      const rank = shown.map((index) => [index, ranks[by](gallery.pictures[index])]);
      shown = rank.sort((a, b) => b[1] - a[1]).map(([index]) => index);
    }
    $("#thumbs").replaceChildren(...shown.map((index, place) => {
      const each = gallery.pictures[index];
      const inner = each.image ? [element("img", { src: each.image, alt: "", loading: "lazy" })] : [];
      const button = element("button", { type: "button", title: each.id }, ...inner, each.id);
      button.setAttribute("role", "option");
      button.dataset.index = index;
      button.addEventListener("click", () => show(place));
      return button;
    }));
    show(0);
  }

  const options = [...(gallery.pictures.some((each) => each.image) ? [["photo", "picture"]] : []),
    ...gallery.layers.filter((layer) => gallery.pictures.some((each) => layer.key in each.layers)).map((layer) => [layer.key, layer.name])];
  for (const side of ["#left", "#right"]) {
    $(side).replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
    $(side).addEventListener("change", () => { redrawStage(); redrawLayers(); });
  }
  const finals = options.filter(([key]) => key.endsWith("c"));
  const pairs = finals.length > 1 ? finals : options.filter(([key]) => key !== "photo" && key !== "truth");
  // First the best variant beside the next, as in the page's verdict.
  const place = ([key]) => gallery.ranked.indexOf(gallery.layers.find((layer) => layer.key === key).variant);
  pairs.sort((a, b) => place(a) - place(b));
  $("#left").value = (pairs.length > 1 ? pairs[0] : options[0])[0];
  $("#right").value = (pairs.length > 1 ? pairs[1] : options[options.length - 1])[0];
  const present = new Set(gallery.pictures.flatMap((each) => each.classes));
  $("#with-class").append(...[...present].sort((a, b) => a - b).map((label) => element("option", { value: label }, className(label))));
  $("#order").addEventListener("change", order);
  $("#with-class").addEventListener("change", order);
  $("#wipe").addEventListener("input", redrawStage);
  $("#opacity").addEventListener("input", repaint);
  $("#mistakes").addEventListener("change", repaint);
  $("#previous").addEventListener("click", () => show(current - 1));
  $("#next").addEventListener("click", () => show(current + 1));
  canvas.addEventListener("pointermove", hover);
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); hover(event); });
  canvas.addEventListener("pointerleave", () => { $("#tip").hidden = true; for (const item of $$("#legend li.here")) item.classList.remove("here"); });
  $("#thumbs").addEventListener("keydown", async (event) => {
    const to = { ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    await show(to);
    $('#thumbs [aria-selected="true"]').focus();
  });
  addEventListener("keydown", (event) => {
    if (event.target.closest("input[type=search], select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "n") show(current + 1);
    if (event.key === "p") show(current - 1);
  });
  order();
}
