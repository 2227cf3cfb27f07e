// Charts: the budget curve with the current budget marked on it, and the loss of the solve.

const LEFT = 72, RIGHT = 18, BROADEST = 640; // CSS pixels beside the plot, and of a whole chart at most
const DASHES = ["none", "7 4", "2 3", "10 3 2 3", "1 5", "14 5"];

function percent(share) {
  return `${Math.round(100 * share)}%`;
}

function digits(value, count = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "not measured";
  return Math.abs(value) < 1e-4 && value !== 0 ? value.toExponential(2) : String(Number(value.toPrecision(count)));
}

// Scores with as many decimals as tell apart what differs by so much.
function rounded(scores, difference) {
  const place = Math.floor(Math.log10(Math.abs(difference)));
  if (!Number.isFinite(place)) return scores.map((score) => digits(score));
  const decimals = Math.min(100, place < 0 ? 1 - place : Math.max(0, 2 - place));
  return scores.map((score) => (Number.isFinite(score) && score !== null ? String(Number(score.toFixed(decimals)) + 0) : "not measured"));
}

function signed(value) {
  return `${value < 0 ? "\u2212" : "+"}${digits(Math.abs(value), 3)}`;
}

function stroke(i) {
  const colour = [rgba(KEPT, 1), rgba(REMOVED, 1), "currentColor"][Math.min(i, 2)];
  return { stroke: colour, "stroke-dasharray": DASHES[i % DASHES.length], "stroke-width": 2, fill: "none" };
}

function tick(x, y, text, anchor) {
  const node = make("text", { x, y, "text-anchor": anchor, "font-size": 12, fill: "currentColor" });
  node.textContent = text;
  return node;
}

function across(place, count, width) {
  return LEFT + (place / Math.max(count - 1, 1)) * (width - LEFT - RIGHT);
}

// The titles of both axes, beside a plot that ends at `bottom`.
function axisTitles(width, bottom, below, left) {
  const upright = tick(0, 0, left, "middle"), y = (8 + bottom) / 2;
  upright.setAttribute("transform", `translate(13, ${y}) rotate(-90)`);
  return [tick((LEFT + width - RIGHT) / 2, bottom + 36, below, "middle"), upright];
}

function box(svg, width, height) {
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.maxWidth = `${width}px`;
}

// Kept and removed scores of one method, or the kept scores of several; the axis has the scale of the slider.
class BudgetCurve {
  constructor(names) {
    this.several = names.length > 1;
    this.width = BROADEST;
    this.svg = make("svg", { class: "stg-curve stg-clicked", role: "img" });
    const legend = (this.several ? names : ["kept", "removed"]).map((name, i) => {
      const line = make("svg", { viewBox: "0 0 32 8", width: 32, height: 8, "aria-hidden": "true" });
      line.append(make("line", { x1: 0, x2: 32, y1: 4, y2: 4, ...stroke(i) }));
      const text = make("span");
      text.textContent = ` ${name}`;
      return make("span", {}, line, text);
    });
    this.node = make("div", { class: "stg-chart" }, this.svg, make("div", { class: "stg-legend" }, ...legend));
  }

  load(readings, stops) {
    this.stops = stops;
    this.shares = readings.every((reading) => reading.tellsShares);
    const which = this.several ? ["kept"] : ["kept", "removed"];
    this.lines = readings.flatMap((reading) => which.map((score) => ({ reading, score })));
    const values = this.lines.flatMap((line) => line.reading.packed.n.map((_, k) => this.value(line, k)));
    const known = values.filter((value) => value !== null);
    this.low = Math.min(...known, this.shares ? 0 : Infinity);
    this.high = Math.max(...known, this.shares ? 1 : -Infinity);
    box(this.svg, this.width, 162);
    const paths = this.lines.flatMap((line, i) => [this.path(line, i), ...this.points(line, i)]);
    this.svg.replaceChildren(...this.axes(readings[0].packed.selected), ...paths);
    this.own = make("path", { d: "M-7,0 L0,-7 L7,0 L0,7 Z", fill: EDGE, stroke: "currentColor", "stroke-width": 1.5 });
    this.mark = make("line", { y1: 6, y2: 122, stroke: "currentColor", "stroke-width": 1.5 });
    this.dots = this.lines.map((_, i) => this.dot(i));
    this.svg.append(this.mark, ...this.dots, this.own);
    const what = this.shares ? "Retained score" : "Score";
    this.svg.setAttribute("aria-label", `${what} against the number of features; its numbers are in a table below`);
  }

  value({ reading, score }, k) {
    const measured = reading.packed[score][k];
    return measured === null || !this.shares ? measured : reading.share(measured);
  }

  y(value) {
    return 118 - ((value - this.low) / (this.high - this.low || 1)) * 106;
  }

  x(count) {
    const next = this.stops.findIndex((stop) => stop >= count), last = this.stops.length - 1;
    if (next < 0) return across(last, last + 1, this.width);
    const [low, high] = [this.stops[Math.max(next - 1, 0)], this.stops[next]];
    return across(next - (high > low ? (high - count) / (high - low) : 0), last + 1, this.width);
  }

  // The stop that is nearest to the pointer.
  stopAt(event) {
    const area = this.svg.getBoundingClientRect(), x = ((event.clientX - area.left) / area.width) * this.width;
    const last = this.stops.length - 1, place = ((x - LEFT) / (this.width - LEFT - RIGHT)) * last;
    return this.stops[Math.min(Math.max(Math.round(place), 0), last)];
  }

  axes(selected) {
    const written = (value) => (this.shares ? percent(value) : digits(value, 3));
    const marks = this.shares ? [0, 1] : [], apart = (value) => marks.every((mark) => Math.abs(this.y(mark) - this.y(value)) > 13);
    const ends = [...marks, ...[this.low, this.high].filter(apart)];
    const heights = ends.map((value) => tick(LEFT - 6, this.y(value) + 4, written(value), "end"));
    const levels = marks.map((value) => make("line", { x1: LEFT, x2: this.width - RIGHT, y1: this.y(value), y2: this.y(value), stroke: "currentColor", opacity: 0.25 }));
    const every = Math.ceil((this.stops.length * 42) / (this.width - LEFT)), last = this.stops.length - 1;
    const counts = this.stops.flatMap((n, i) => ((i % every === 0 && i + every <= last) || i === last ? [tick(this.x(n), 138, String(n), "middle")] : []));
    const x = this.x(selected), dotted = { stroke: "currentColor", "stroke-dasharray": "2 4", opacity: 0.7 };
    const titles = axisTitles(this.width, 118, "features kept", this.shares ? "share of score" : "score");
    return [...levels, ...heights, ...counts, ...titles, make("line", { x1: x, x2: x, y1: 8, y2: 122, ...dotted })];
  }

  path(line, i) {
    const points = line.reading.packed.n.map((n, k) => [this.x(n), this.value(line, k)]);
    const known = points.filter(([, value]) => value !== null).map(([x, value]) => `${x},${this.y(value)}`);
    return make("polyline", { points: known.join(" "), ...stroke(i) });
  }

  points(line, i) {
    return line.reading.packed.n.flatMap((n, k) => {
      const value = this.value(line, k);
      return value === null ? [] : [make("circle", { cx: this.x(n), cy: this.y(value), r: 2.5, fill: stroke(i).stroke })];
    });
  }

  dot(i) {
    if (i === 1 && !this.several) return make("rect", { x: -4.5, y: -4.5, width: 9, height: 9, fill: rgba(REMOVED, 1) });
    return make("circle", { r: 5, fill: stroke(i).stroke });
  }

  move(stop) {
    const x = across(stop, this.stops.length, this.width);
    this.moveOwn();
    for (const end of ["x1", "x2"]) this.mark.setAttribute(end, x);
    this.lines.forEach((line, i) => {
      const value = this.value(line, line.reading.point), dot = this.dots[i];
      dot.setAttribute("visibility", value === null ? "hidden" : "visible");
      if (value !== null) dot.setAttribute("transform", `translate(${x}, ${this.y(value)})`);
    });
  }

  // A diamond at the score of the features that the reader has chosen.
  moveOwn() {
    const { reading } = this.lines[0], kept = reading.chosen && reading.score("kept"), known = (kept ?? null) !== null;
    this.own.setAttribute("visibility", known ? "visible" : "hidden");
    if (!known) return;
    const y = Math.min(Math.max(this.y(this.shares ? reading.share(kept) : kept), 6), 124);
    this.own.setAttribute("transform", `translate(${this.x(reading.count)}, ${y})`);
  }
}

// The loss of every step; null if a step has no loss.
function drawLoss(svg, trace, width) {
  box(svg, width, 112);
  const known = trace.filter((loss) => loss !== null);
  const low = Math.min(...known), span = Math.max(...known) - low || 1; // of one step there is no line
  const points = trace.map((loss, i) => (loss === null ? "" : `${across(i, trace.length, width)},${66 - ((loss - low) / span) * 56}`));
  const highest = Math.max(...known), marks = highest > low ? [[highest, 14], [low, 70]] : known.length ? [[low, 70]] : [];
  const ends = marks.map(([loss, y]) => tick(LEFT - 6, y, digits(loss, 3), "end"));
  const steps = [[0, 1], [trace.length - 1, trace.length]].slice(trace.length > 1 ? 0 : 1, trace.length + 1);
  const counts = steps.map(([i, step]) => tick(across(i, trace.length, width), 86, String(step), "middle"));
  const titles = axisTitles(width, 70, "step", "loss"), line = make("polyline", { points: points.join(" "), ...stroke(0) });
  const alone = trace.length === 1 && known.length ? points.map((point) => point.split(",")) : []; // a line needs two
  const dots = alone.map(([cx, cy]) => make("circle", { cx, cy, r: 3, fill: stroke(0).stroke }));
  svg.replaceChildren(line, ...dots, ...ends, ...counts, ...titles);
  svg.setAttribute("aria-label", `Loss of ${known.length} steps, last ${digits(known.at(-1))}`);
  return known;
}
