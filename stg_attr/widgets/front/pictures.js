// Pictures: how each kind of input is drawn on a canvas or as elements of the page.

class ImagePicture {
  constructor() {
    this.node = make("canvas", { role: "img", class: "stg-canvas" });
    this.context = this.node.getContext("2d");
    this.small = document.createElement("canvas");
  }

  async load(scene) {
    const [height, width] = scene.size;
    const pixels = await unpack(scene.pixels, Uint8Array);
    const hidden = await unpack(scene.hidden, Uint8Array);
    const columns = await unpack(scene.columns, Int32Array);
    Object.assign(this, { scene, pixels, hidden, columns }); // at once: a frame may be drawn between two awaits
    this.scale = Math.max(1, Math.ceil(WIDEST / Math.max(height, width)));
    [this.small.width, this.small.height] = [width, height];
    [this.node.width, this.node.height] = [width * this.scale, height * this.scale];
    this.node.style.width = `${Math.round((WIDEST * width) / Math.max(height, width))}px`;
    this.data = new ImageData(width, height);
    this.mask = new Uint8Array(width * height);
  }

  draw(reading, show) {
    const [height, width] = this.scene.size, area = height * width;
    for (let i = 0; i < area; i++) this.pixel(i, area, reading, show);
    this.small.getContext("2d").putImageData(this.data, 0, 0);
    this.drawn = [reading, show];
    this.context.imageSmoothingEnabled = Math.max(height, width) >= 256;
    this.context.clearRect(0, 0, this.node.width, this.node.height);
    this.context.drawImage(this.small, 0, 0, this.node.width, this.node.height);
    const kept = (x, y) => (x >= 0 && y >= 0 && x < width && y < height ? this.mask[y * width + x] : 0);
    if (show === "all" || show === "veil") this.stroke(this.edges(width, height, kept), [["#000000", 4], [EDGE, 2]]);
    const pointed = (x, y) => x >= 0 && y >= 0 && x < width && y < height && this.columns[y * width + x] === this.pointed;
    if (this.pointed >= 0) this.stroke(this.edges(width, height, pointed), [["#000000", 3], ["#ffffff", 1.5]]);
  }

  // Outline the feature under the pointer; -1 for none.
  point(g) {
    if (g === (this.pointed ?? -1) || !this.drawn) return;
    this.pointed = g;
    this.draw(...this.drawn);
  }

  pixel(i, area, reading, show) {
    const { layers, size } = this.scene, channels = size[2], out = this.data.data;
    const constant = this.hidden.length === channels;
    let any = 0, first = -1, most = 0;
    for (let layer = 0; layer < layers; layer++) {
      const g = this.columns[layer * area + i];
      if (g < 0) continue;
      any |= reading.open[g];
      if (first >= 0 && reading.p[g] <= most) continue;
      first = g; // not as a pair: half a megabyte of pairs a step would keep the collector busy
      most = reading.p[g];
    }
    this.mask[i] = any;
    for (let c = 0; c < 3; c++) {
      const from = channels < 3 ? 0 : c;
      const g = this.columns[(layers > from ? from * area : 0) + i];
      const open = g < 0 || (show === "removed" ? !reading.open[g] : reading.open[g]);
      const whole = show === "all" || show === "veil" || open;
      out[4 * i + c] = whole ? this.pixels[i * channels + from] : this.hidden[(constant ? 0 : i * channels) + from];
    }
    out[4 * i + 3] = channels === 4 ? this.pixels[i * channels + 3] : 255;
    if (show === "veil") this.cover(4 * i, first, most, reading);
  }

  // Grey and mixed with white, so that the colours drawn over it stay visible.
  cover(at, g, probability, reading) {
    const out = this.data.data;
    const grey = 89 + 0.65 * (0.299 * out[at] + 0.587 * out[at + 1] + 0.114 * out[at + 2]);
    const colour = g < 0 ? KEPT : reading.colour(g), part = VEIL * probability;
    for (let c = 0; c < 3; c++) out[at + c] = grey * (1 - part) + colour[c] * part;
  }

  // The borders between pixels that are `at` and others.
  edges(width, height, at) {
    const path = new Path2D(), thick = this.node.width / WIDEST;
    const inside = (place, most) => Math.min(Math.max(place * this.scale, 2 * thick), most * this.scale - 2 * thick);
    const line = (x0, y0, x1, y1) => {
      path.moveTo(inside(x0, width), inside(y0, height));
      path.lineTo(inside(x1, width), inside(y1, height));
    };
    for (let y = 0; y <= height; y++) {
      for (let x = 0, from = -1; x <= width; x++) {
        const edge = x < width && at(x, y) !== at(x, y - 1);
        if (edge && from < 0) from = x;
        if (!edge && from >= 0) { line(from, y, x, y); from = -1; }
      }
    }
    for (let x = 0; x <= width; x++) {
      for (let y = 0, from = -1; y <= height; y++) {
        const edge = y < height && at(x, y) !== at(x - 1, y);
        if (edge && from < 0) from = y;
        if (!edge && from >= 0) { line(x, from, x, y); from = -1; }
      }
    }
    return path;
  }

  stroke(path, lines) {
    for (const [colour, pixels] of lines) {
      this.context.strokeStyle = colour;
      this.context.lineWidth = (pixels * this.node.width) / WIDEST;
      this.context.lineCap = "square";
      this.context.stroke(path);
    }
  }

  hit(event) {
    const box = this.node.getBoundingClientRect(), [height, width] = this.scene.size;
    const x = Math.floor(((event.clientX - box.left) / box.width) * width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * height);
    if (x < 0 || y < 0 || x >= width || y >= height) return [];
    const found = Array.from({ length: this.scene.layers }, (_, layer) => this.columns[layer * height * width + y * width + x]);
    return [...new Set(found.filter((g) => g >= 0))]; // channels may have features of their own
  }
}

class TextPicture {
  constructor() {
    this.node = make("div", { class: "stg-text" });
  }

  async load(scene) {
    this.scene = scene;
    this.node.dir = scene.rtl ? "rtl" : "ltr";
    this.spans = scene.words.map((word) => {
      const kinds = ["stg-word", word.m && "stg-muted", word.g.length && "stg-gated"];
      const span = make("span", { class: kinds.filter(Boolean).join(" ") });
      span.textContent = word.t;
      return span;
    });
    const pieces = scene.words.flatMap((word, i) => [word.b ? make("br") : word.s && i ? " " : "", this.spans[i]]);
    this.node.replaceChildren(...pieces);
  }

  // Change only the styles that differ, so that a long text is drawn within one frame.
  draw(reading, show) {
    this.scene.words.forEach((word, i) => {
      const span = this.spans[i], gated = word.g.length > 0;
      const most = word.g.reduce((best, g) => (best < 0 || reading.p[g] > reading.p[best] ? g : best), -1);
      const open = word.g.some((g) => reading.open[g]);
      const hidden = gated && (show === "kept" ? !open : show === "removed" && open);
      const shade = show === "all" && gated ? rgba(reading.colour(most), VEIL * reading.p[most]) : "transparent";
      const text = hidden ? "\u00b7".repeat(Math.min(Math.max(word.t.length, 1), 8)) : word.t;
      if (span.textContent !== text) span.textContent = text;
      span.style.backgroundColor = shade;
      span.classList.toggle("stg-open", open && show === "all");
      span.title = hidden ? "hidden" : gated ? `${reading.number(most)}${open ? ", kept" : ""}` : "no gate";
    });
  }

  hit(event) {
    return this.scene.words[this.spans.indexOf(event.target)]?.g ?? [];
  }
}

// A canvas on which lines are measured in CSS pixels.
function sized(canvas, width, height) {
  const dense = window.devicePixelRatio || 1;
  const [across, down] = [Math.round(width * dense), Math.round(height * dense)];
  if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
  canvas.style.width = `${width}px`;
  const context = canvas.getContext("2d");
  context.setTransform(dense, 0, 0, dense, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = `13px ${getComputedStyle(canvas).fontFamily || "sans-serif"}`;
  context.textBaseline = "middle";
  return context;
}

// Text that fits, without its middle: names often begin alike.
function clipped(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let kept = Math.min(text.length - 1, 80), short;
  do {
    const tail = Math.floor(kept / 2);
    short = `${text.slice(0, kept - tail)}\u2026${tail ? text.slice(-tail) : ""}`;
  } while (--kept > 0 && context.measureText(short).width > width);
  return short;
}

class TablePicture {
  constructor() {
    this.node = make("canvas", { role: "img", class: "stg-canvas" });
    this.rows = 12;
    this.fit(560);
  }

  // Where there is little room, names stand above their bars.
  fit(room) {
    this.width = Math.min(560, room);
    this.above = this.width < 460;
    this.row = this.above ? 42 : 24;
    this.label = this.above ? 0 : 250;
  }

  async load(scene) {
    this.scene = scene;
  }

  draw(reading, show) {
    if (this.scene.adds && !reading.level) return this.drawSigned(reading, show, this.scene.adds);
    this.drawLevels(reading, show);
  }

  // What features add to the score, to the right where they raise it; the same rows at every budget.
  drawSigned(reading, show, adds) {
    const size = (g) => Math.abs(adds[g] ?? 0), bySize = (a, b) => size(b) - size(a) || a - b;
    const needed = reading.order.slice(0, this.rows / 2), doubtful = reading.packed.doubt;
    const largest = Array.from(reading.order).sort(bySize).filter((g) => !needed.includes(g));
    this.shown = [...needed, ...largest].slice(0, this.rows).sort(bySize);
    const low = Math.min(0, ...this.shown.map((g) => adds[g] ?? 0)), high = Math.max(0, ...this.shown.map((g) => adds[g] ?? 0));
    const before = low < 0 ? 64 : 0, room = this.width - this.label - before - 76, unit = room / (high - low || 1);
    const zero = this.label + before - low * unit, [context, colour] = this.canvas("added to the score", this.label, this.width);
    this.shown.forEach((g, i) => {
      const value = adds[g] ?? 0, length = Math.max(Math.abs(value) * unit, 0.5);
      this.name(context, reading, show, g, i);
      context.fillStyle = context.strokeStyle = doubtful ? "rgb(128, 128, 128)" : rgba(value < 0 ? REMOVED : KEPT, 1);
      context.setLineDash(doubtful ? [3, 3] : []);
      this.bar(context, value < 0 ? zero - length : zero, length, reading.open[g], i);
      context.fillStyle = colour;
      context.textAlign = value < 0 ? "right" : "left";
      const text = signed(value) + (reading.open[g] ? " \u2713" : "");
      context.fillText(text, value < 0 ? zero - length - 6 : zero + length + 6, this.middle(i));
    });
    context.setLineDash([]);
    context.fillStyle = colour;
    context.fillRect(zero, 0, 1, this.shown.length * this.row + 2);
  }

  // Rows keep their order at every budget, so that only bars move.
  drawLevels(reading, show) {
    this.shown = reading.order.slice(0, this.rows);
    const room = this.width - this.label - 60, title = reading.level ? "attribution" : "active probability";
    const [context, colour] = this.canvas(title, this.label, this.label + room);
    this.shown.forEach((g, i) => {
      const length = Math.max(reading.p[g] * room, 0.5);
      this.name(context, reading, show, g, i);
      context.fillStyle = context.strokeStyle = rgba(reading.colour(g), 1);
      this.bar(context, this.label, length, reading.open[g], i);
      context.fillStyle = colour;
      context.textAlign = "left";
      context.fillText(reading.number(g) + (reading.open[g] ? " \u2713" : ""), this.label + length + 6, this.middle(i));
    });
  }

  // A canvas with all rows, and a line for the title of the axis.
  canvas(title, from, to) {
    const context = sized(this.node, this.width, this.shown.length * this.row + 24), colour = ink(this.node);
    context.fillStyle = colour;
    context.textAlign = "center";
    context.fillText(title, (from + to) / 2, this.shown.length * this.row + 14);
    return [context, colour];
  }

  // The height of the bar of a row.
  middle(i) {
    return (i + (this.above ? 0.68 : 0.5)) * this.row + 2;
  }

  name(context, reading, show, g, i) {
    const open = reading.open[g], hidden = show === "kept" ? !open : show === "removed" && open;
    const text = clipped(context, this.text(g, hidden), this.above ? this.width - 6 : this.label - 14);
    context.fillStyle = ink(this.node);
    context.textAlign = this.above ? "left" : "right";
    context.fillText(text, this.above ? 3 : this.label - 8, this.above ? i * this.row + 12 : this.middle(i));
  }

  bar(context, left, length, open, i) {
    context.lineWidth = 1.5;
    if (open) context.fillRect(left, this.middle(i) - 8, length, 16);
    context.strokeRect(left, this.middle(i) - 8, length, 16);
  }

  text(g, hidden) {
    const name = featureName(this.scene, g), values = hidden ? this.scene.hidden : this.scene.values;
    const value = values && values[g] ? ` = ${values[g]}` : "";
    return hidden ? `${name}${value} (baseline)` : name + value;
  }

  hit(event) {
    const box = this.node.getBoundingClientRect(), scale = (this.shown.length * this.row + 24) / box.height;
    const g = this.shown[Math.floor(((event.clientY - box.top) * scale) / this.row)];
    return g === undefined ? [] : [g];
  }
}

class SeriesPicture {
  constructor() {
    this.node = make("canvas", { role: "img", class: "stg-canvas" });
    this.lane = 56; this.foot = 36;
    this.fit(640);
  }

  fit(room) {
    this.width = Math.min(640, room);
    this.left = Math.round(Math.min(90, 0.22 * this.width));
  }

  async load(scene) {
    const values = await unpack(scene.values, Float32Array);
    const hidden = await unpack(scene.hidden, Float32Array);
    const columns = await unpack(scene.columns, Int32Array);
    Object.assign(this, { scene, values, hidden, columns });
  }

  draw(reading, show) {
    const [channels, steps] = this.scene.size;
    const context = sized(this.node, this.width, channels * this.lane + this.foot);
    this.axis(context, steps, channels * this.lane);
    const wide = (this.width - this.left) / steps;
    for (let lane = 0; lane < channels; lane++) {
      this.spans(context, reading, show, lane, steps, wide);
      this.line(context, reading, show, lane, steps, wide);
      context.textAlign = "right";
      context.fillStyle = ink(this.node);
      context.fillText(clipped(context, this.scene.channels[lane], this.left - 14), this.left - 8, (lane + 0.5) * this.lane);
    }
  }

  axis(context, steps, bottom) {
    context.fillStyle = ink(this.node);
    for (const [text, x, align] of [["0", this.left, "left"], [String(steps - 1), this.width, "right"]]) {
      context.textAlign = align;
      context.fillText(text, x, bottom + 10);
    }
    context.textAlign = "center";
    context.fillText("time step", (this.left + this.width) / 2, bottom + 26);
  }

  spans(context, reading, show, lane, steps, wide) {
    for (let from = 0, to; from < steps; from = to) {
      const g = this.columns[lane * steps + from];
      for (to = from + 1; to < steps && this.columns[lane * steps + to] === g; ) to++;
      if (g < 0 || show !== "all") continue;
      const x = this.left + from * wide, across = (to - from) * wide, y = lane * this.lane;
      context.fillStyle = rgba(reading.colour(g), VEIL * reading.p[g]);
      context.fillRect(x, y + 1, across, this.lane - 2);
      context.fillStyle = rgba(reading.colour(g), 1);
      if (reading.open[g]) context.fillRect(x, y + this.lane - 5, across, 4);
    }
  }

  line(context, reading, show, lane, steps, wide) {
    const from = lane * steps, own = this.values.subarray(from, from + steps);
    let low = Infinity, high = -Infinity;
    for (const value of own) [low, high] = [Math.min(low, value), Math.max(high, value)];
    if (show !== "all") for (const value of this.hidden.subarray(from, from + steps)) {
      [low, high] = [Math.min(low, value), Math.max(high, value)];
    }
    const span = high - low || 1;
    context.beginPath();
    for (let t = 0; t < steps; t++) {
      const g = this.columns[from + t], open = g < 0 || reading.open[g];
      const hide = show === "kept" ? !open : show === "removed" && g >= 0 && open;
      const value = hide ? this.hidden[from + t] : own[t];
      const y = (lane + 0.9 - (0.8 * (value - low)) / span) * this.lane;
      context.lineTo(this.left + (t + 0.5) * wide, y);
    }
    context.strokeStyle = ink(this.node);
    context.lineWidth = 1.2;
    context.stroke();
  }

  hit(event) {
    const box = this.node.getBoundingClientRect(), [channels, steps] = this.scene.size;
    const x = ((event.clientX - box.left) / box.width) * this.width;
    const t = Math.floor(((x - this.left) / (this.width - this.left)) * steps);
    const lane = Math.floor((((event.clientY - box.top) / box.height) * (channels * this.lane + this.foot)) / this.lane);
    const g = t < 0 || t >= steps || lane < 0 || lane >= channels ? -1 : this.columns[lane * steps + t];
    return g < 0 ? [] : [g];
  }
}

const PICTURES = { image: ImagePicture, text: TextPicture, table: TablePicture, series: SeriesPicture };
