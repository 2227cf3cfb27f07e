// Tables: the evidence at the current budget, and, when opened, every feature and every point of the curve.

const LISTED = 100; // features

function cell(text, header) {
  const node = make(header ? "th" : "td", header ? { scope: header } : {});
  node.textContent = text;
  return node;
}

function row(head, values) {
  return make("tr", {}, cell(head, "row"), ...values.map((value) => cell(value)));
}

function table(caption, heads) {
  const body = make("tbody"), title = make("caption");
  title.textContent = caption;
  const head = make("thead", {}, make("tr", {}, ...heads.map((text) => cell(text, "col"))));
  return [make("table", {}, title, head, body), body];
}

function scrolling(label, extra, ...children) {
  return make("div", { class: `stg-scroll ${extra}`, tabindex: "0", role: "group", "aria-label": label }, ...children);
}

// A difference of scores; one that is only rounding error is 0.
function difference(full, score) {
  if (score === null) return digits(null);
  const less = full - score;
  return digits(Math.abs(less) < 1e-6 * Math.max(Math.abs(full), Math.abs(score)) ? 0 : less);
}

class Tables {
  constructor(names, onOpen) {
    this.names = names;
    const heads = ["method", "features", "full", "baseline", "kept", "removed", "sufficiency", "comprehensiveness"];
    const [scores, evidence] = table("Measured on the model", heads);
    const columns = names.flatMap((name) => [names.length > 1 ? name : "probability", "kept"]);
    const [features, featureRows] = table("Features, best first", ["feature", ...columns]);
    const [points, pointRows] = table("Scores along the curve", ["method", "features", "kept", "removed"]);
    Object.assign(this, { evidence, featureRows, pointRows });
    this.scores = scrolling("Measured scores", "", scores);
    const summary = make("summary", {}, "The same in numbers");
    this.details = make("details", {}, summary, scrolling("Numbers", "stg-tables", features, points));
    this.details.addEventListener("toggle", onOpen);
  }

  // Rows are made only when the table is open, and keep their order at every budget.
  fill(readings, scene) {
    this.readings = readings;
    if (!this.details.open) return;
    this.listed = readings[0].order.slice(0, LISTED);
    const blank = readings.flatMap(() => ["", ""]);
    this.featureRows.replaceChildren(...this.listed.map((g) => row(featureName(scene, g), blank)));
    this.pointRows.replaceChildren(...readings.flatMap(({ packed }, i) => packed.n.map((n, k) =>
      row(this.names[i], [String(n), digits(packed.kept[k]), digits(packed.removed[k])]))));
  }

  update() {
    const rows = this.readings.map((reading) => this.measured(reading));
    if (this.evidence.rows.length !== rows.length) this.evidence.replaceChildren(...rows.map((values, i) => row(this.names[i], values)));
    rows.forEach((values, i) => values.forEach((text, j) => (this.evidence.rows[i].cells[j + 1].textContent = text)));
    if (!this.details.open) return;
    this.listed.forEach((g, i) => this.readings.forEach((reading, m) => {
      const { cells } = this.featureRows.rows[i];
      cells[1 + 2 * m].textContent = reading.number(g);
      cells[2 + 2 * m].textContent = reading.open[g] ? "kept" : "";
    }));
  }

  measured(reading) {
    const { full, baseline, gates } = reading.packed, kept = reading.score("kept"), removed = reading.score("removed");
    const scores = [full, baseline, kept, removed].map((score) => digits(score));
    return [`${reading.count} of ${gates}`, ...scores, difference(full, kept), difference(full, removed)];
  }
}
