// Readings: packed arrays, their values at a budget, and the colours and elements that all pictures use.
// Strings of the user become textContent, titles or canvas text, and never HTML.

const KEPT = [0, 114, 178], REMOVED = [213, 94, 0], EDGE = "#F0E442", VEIL = 0.72;
const WIDEST = 380; // CSS pixels of an image

async function unpack(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Kind(await new Response(stream).arrayBuffer());
}

function make(name, attributes = {}, ...children) {
  const svg = ["svg", "path", "polyline", "line", "circle", "rect", "text"].includes(name);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function rgba(colour, opacity) {
  return `rgba(${colour.join(", ")}, ${opacity.toFixed(3)})`;
}

// One example of one method: which gates are open at a budget, and their active probabilities.
class Reading {
  static async of(packed, gates, known) {
    const reading = new Reading();
    reading.known = new Map(Object.entries(known ?? {})); // scores of sets, by their keys
    reading.packed = packed;
    reading.rank = await unpack(packed.rank, Int32Array);
    reading.level = packed.level ? await unpack(packed.level, Float32Array) : null;
    reading.alpha = packed.alpha ? await unpack(packed.alpha, Float32Array) : null;
    reading.table = gates ? { ...gates, values: await unpack(gates.table, Float32Array) } : null;
    reading.p = new Float32Array(reading.rank.length);
    reading.open = new Uint8Array(reading.rank.length);
    reading.order = reading.ranked();
    return reading;
  }

  ranked() {
    const places = Array.from(this.rank.keys());
    const key = (g) => (this.rank[g] < 0 ? Infinity : this.rank[g]);
    return places.sort((a, b) => key(a) - key(b) || a - b);
  }

  // Add scores that were measured, by the keys of the sets that were kept.
  learn(known) {
    for (const [key, score] of Object.entries(known)) this.known.set(key, score);
  }

  // The scores of the sets along the curve, and of what they leave out, are known.
  learnCurve() {
    const { n, kept, removed } = this.packed, open = new Uint8Array(this.rank.length);
    n.forEach((count, k) => {
      for (let g = 0; g < open.length; g++) open[g] = this.rank[g] >= 0 && this.rank[g] < count ? 1 : 0;
      this.learn({ [setKey(open)]: kept[k], [setKey(this.without(open))]: removed[k] });
    });
    this.curveKnown = true;
  }

  without(open) {
    const others = open.map((on) => 1 - on);
    for (const g of this.packed.missing) others[g] = 0;
    return others;
  }

  // Read with the features that the reader has switched on; a score that was not measured is null.
  choose(on) {
    if (!this.curveKnown) this.learnCurve();
    this.open.fill(0);
    for (const g of on) this.open[g] = 1;
    this.count = on.length;
    const score = (kept) => this.known.get(setKey(kept)) ?? null;
    this.chosen = { kept: score(this.open), removed: score(this.without(this.open)) };
    return this;
  }

  // Read at the largest measured count within the budget.
  at(budget) {
    const { n, shift } = this.packed;
    this.chosen = null;
    this.point = Math.max(0, n.findLastIndex((count) => count <= budget));
    this.count = n[this.point];
    for (let g = 0; g < this.rank.length; g++) {
      this.open[g] = this.rank[g] >= 0 && this.rank[g] < this.count ? 1 : 0;
      this.p[g] = this.level ? Math.abs(this.level[g]) : this.probability(g, shift[this.point]);
    }
    return this;
  }

  probability(g, shift) {
    const { half, reach, step, values } = this.table;
    const above = this.alpha[g] + shift - half, parameter = this.rank[g] < 0 ? Math.min(above, 0) : above;
    const place = Math.min(Math.max((parameter + reach) / step, 0), values.length - 1);
    const below = Math.floor(place), part = place - below;
    return part === 0 ? values[below] : values[below] * (1 - part) + values[below + 1] * part;
  }

  colour(g) {
    return this.level && this.level[g] < 0 ? REMOVED : KEPT;
  }

  score(which) {
    return this.chosen ? this.chosen[which] : this.packed[which][this.point];
  }

  get explainable() {
    return this.packed.full !== this.packed.baseline && this.packed.explainable !== false;
  }

  get tellsShares() {
    return this.explainable && this.packed.shares;
  }

  share(score) {
    return (score - this.packed.baseline) / (this.packed.full - this.packed.baseline);
  }

  number(g) {
    if (!this.level) return this.p[g].toFixed(2);
    return digits(this.level[g] * this.packed.limit, 3);
  }
}

function featureName(scene, g) {
  const number = `feature ${scene.ids ? scene.ids[g] : g}`, name = scene.names && scene.names[g];
  if (!name) return number;
  return "ids" in scene ? `${name} (${number})` : name; // regions have a number and perhaps a name
}

// A set of features as text, four in each digit, as Python writes it.
function setKey(kept) {
  let key = "";
  for (let g = 0; g < kept.length; g += 4) {
    key += (kept[g] + 2 * (kept[g + 1] || 0) + 4 * (kept[g + 2] || 0) + 8 * (kept[g + 3] || 0)).toString(16);
  }
  return key;
}

function ink(node) {
  return getComputedStyle(node).color;
}
