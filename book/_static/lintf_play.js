/* Figures to play with, without a kernel: lintf/pages/play.py writes what a figure needs as JSON into the page, and
   mount() puts controls and a drawing of its own in the place of the still picture beside it.

   A formula takes the values of the controls and the figure's data, and returns the numbers to draw. It exists twice,
   here and as a Python function on its page; tests/book/test_play_book.py holds the two against each other. A number
   that does not exist is null in JSON and NaN here, and is not drawn. */

"use strict";

const lintfPlay = (() => {
  // --- mathematics -----------------------------------------------------------------------------------------------

  /** The error that layers with a and b leave at an eigenvalue t: r <- r (1 - a t), t <- t (1 - a b t)^2. */
  function residual(a, b, t) {
    let r = 1;
    a.forEach((step, layer) => {
      r *= 1 - step * t;
      if (layer < b.length) t *= (1 - step * b[layer] * t) ** 2;
    });
    return r;
  }

  /** d E g(t)^2 over the eigenvalues up to a largest one: nodes t and weights w. */
  function loss({ t, w, d }, r, largest = Infinity) {
    let sum = 0;
    r.forEach((value, k) => {
      if (t[k] <= largest) sum += w[k] * value ** 2;
    });
    return d * sum;
  }

  /** The largest eigenvalue of which, or of larger ones, as many as `rare` are expected in a prompt. */
  function rarest({ t, w, d }, rare) {
    let above = 0;
    for (let k = t.length - 1; k >= 0; k--) {
      above += w[k];
      if (d * above >= rare) return t[k];
    }
    return NaN;
  }

  /** Chebyshev's polynomial with value 1 at 0 that is smallest on [low, high]. */
  function chebyshev(degree, low, high, t) {
    const at = (x) => {
      let [before, now] = [1, x];
      for (let k = 1; k < degree; k++) [before, now] = [now, 2 * x * now - before];
      return now;
    };
    return at((2 * t - high - low) / (high - low)) / at((-high - low) / (high - low));
  }

  /** The time in which a head grows from one size to another: da/dt = 2 a^2 lam (lam - K a^3). */
  function passed(to, start, lam, K) {
    const end = Math.cbrt(lam / K);
    const clock = (z) =>
      Math.log1p(z + z ** 2) / 6 - Math.log1p(-z) / 3 - 1 / z - Math.atan((2 * z + 1) / 3 ** 0.5) / 3 ** 0.5;
    return (clock(to / end) - clock(start / end)) / (2 * lam ** 2 * end);
  }

  /** The piecewise linear function through points, of which xs rise, at rising places; constant outside. */
  function interpolated(places, xs, ys) {
    let k = 0;
    return places.map((x) => {
      while (k < xs.length && xs[k] < x) k++;
      if (k === 0 || k === xs.length) return ys[Math.min(k, xs.length - 1)];
      return ys[k - 1] + ((ys[k] - ys[k - 1]) * (x - xs[k - 1])) / (xs[k] - xs[k - 1]);
    });
  }

  const fill = (count, value) => Array(count).fill(value);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const log10 = (value) => (value > 0 ? Math.log10(value) : NaN);

  // --- formulas, by the pages that use them ----------------------------------------------------------------------

  const formulas = {
    /** 01: the matrices after a step of training, their mean diagonals, and the loss. */
    training({ alg, step }, data) {
      const [which, now] = [data.algs.indexOf(alg), data.steps.indexOf(step)];
      const out = { step, loss: data.loss[which][now] };
      data.matrices[which][now].forEach((M, i) => {
        out[`matrix ${i}`] = M;
        out[`multiple ${i}`] = sum(M.map((row, k) => row[k])) / M.length;
      });
      return out;
    },

    /** 03: steps of given sizes. */
    steps(sizes, data) {
      const left = data.t.map((t) => residual(Object.values(sizes), [], t));
      return { left, loss: loss(data, left) };
    },

    /** 05: what three methods leave, at all eigenvalues and at one. */
    depth({ L, t }, data) {
      const out = { t };
      data.a[data.depths.indexOf(L)].forEach((a, i) => {
        const b = data.b[data.depths.indexOf(L)][i];
        out[`left ${i}`] = data.axis.map((x) => Math.abs(residual(a, b, x)));
        out[`here ${i}`] = Math.abs(residual(a, b, t));
      });
      return out;
    },

    /** 07: one step of three kinds, by the number of examples. */
    oneStep({ n, kappa, w }, { counts, d }) {
      const lam = Array.from({ length: d }, (_, i) => kappa ** (-i / (d - 1 || 1)));
      const om = lam.map((v) => (w === "I" ? 1 : 1 / v));
      const tau = sum(lam.map((v, i) => v * om[i]));
      const kinds = [() => 1, (N, i) => 1 / lam[i], (N, i) => om[i] / ((N + 1) * lam[i] * om[i] + tau)];
      const of = (kind, N) => {
        const A = lam.map((_, i) => kind(N, i));
        const gain = sum(A.map((v, i) => lam[i] ** 2 * om[i] * v));
        const size = sum(A.map((v, i) => lam[i] * v ** 2 * ((N + 1) * lam[i] ** 2 * om[i] + tau * lam[i])));
        return 1 - (N * gain ** 2) / size / tau;
      };
      const out = { n, w };
      kinds.forEach((kind, i) => {
        out[`loss ${i}`] = counts.map((N) => of(kind, N));
        out[`at n ${i}`] = of(kind, n);
      });
      return out;
    },

    /** 07: the losses of several polynomials when what is rarer than one in so many is left out. */
    cut({ prompts }, data) {
      const out = { edge: rarest(data, 1 / prompts) };
      const kinds = [
        ...data.degrees.map((degree) => (t) => chebyshev(degree, data.low, data.high, t)),
        ...data.a.map((a, i) => (t) => residual(a, data.b[i], t)),
      ];
      kinds.forEach((of, i) => {
        const r = data.t.map(of);
        out[`left ${i}`] = r;
        out[`share ${i}`] = r.map((v, k) => data.d * data.rho[k] * data.peak * v ** 2);
        out[`loss ${i}`] = loss(data, r, out.edge);
      });
      return out;
    },

    /** 08: the losses of trainings at one learning rate. */
    rates({ rate }, data) {
      const at = data.rates.indexOf(rate);
      const out = {};
      data.losses[at].forEach((values, i) => (out[`loss ${i}`] = values));
      data.ends[at].forEach((value, i) => (out[`end ${i}`] = value));
      return out;
    },

    /** 16: residuals of gradient descent and of Newton's iteration, and the layers that reach a goal. */
    newton({ kappa, goal }, { powers }) {
      const [factor, square] = [(kappa - 1) / (kappa + 1), kappa ** 2 / (kappa ** 2 + 1)];
      const methods = [
        powers.map((k) => [k + 1, factor ** (k + 1)]),
        powers.map((k) => [2 * k + 1, factor ** (2 ** k)]),
        powers.map((k) => [2 * k + 2, square ** (2 ** k)]),
      ];
      const out = { goal };
      methods.forEach((points, i) => {
        out[`layers ${i}`] = points.map((point) => point[0]);
        out[`residual ${i}`] = points.map((point) => point[1]);
        out[`enough ${i}`] = (points.find((point) => point[1] <= goal) ?? [NaN])[0];
      });
      return out;
    },

    /** 23: a layer with two numbers, in a loop. */
    loops({ a, b, loops }, data) {
      const r = data.t.map((t) => residual(fill(loops, a), fill(loops - 1, b), t));
      return { left: r.map(Math.abs), loss: loss(data, r, data.cut), edge: b ? 2 / (a * b) : 2 / a };
    },

    /** 25: one number for every number of examples and every dimension. */
    phase({ quantity, L, kappa }, data) {
      const pick = (values) => values[data.depths.indexOf(L)][data.kappas.indexOf(kappa)];
      const [found, limit, rival] = [pick(data.best), pick(data.limit), pick(data.rival)];
      const of = {
        loss: (i, j) => found[i][j] / data.ds[i],
        "lead over descent": (i, j) => rival[i][j] / found[i][j],
        "distance to the limit": (i, j) => found[i][j] / limit[i][j],
      }[quantity];
      const map = (f) => found.map((row, i) => row.map((v, j) => (v === null ? NaN : f(i, j))));
      const reach = data.reach[data.quantities.indexOf(quantity)];
      return {
        L,
        kappa,
        value: map((i, j) => log10(of(i, j))),
        shade: map((i, j) => log10(of(i, j)) / reach),
        loss: map((i, j) => found[i][j] / data.ds[i]),
        limit: found.map((row, i) => row.map((_, j) => limit[i][j] / data.ds[i])),
        rival: found.map((row, i) => row.map((_, j) => rival[i][j] / data.ds[i])),
      };
    },

    /** 26: what is left of a clean coefficient by three methods, and their errors. */
    shrink({ sigma, N }, data) {
      const [n, s] = [data.Ns.indexOf(N), data.sigmas.indexOf(sigma)];
      const [nodes, weights] = [data.nodes[n], data.weights[n]];
      const methods = [
        (t) => 1 - (t * N) / (N + data.d + 1 + sigma ** 2),
        (t) => residual(data.a[n][s], data.b[n][s], t),
        (t) => (sigma ? sigma ** 2 / (N * t + sigma ** 2) : t > 0 ? 0 : 1),
      ];
      const noise = (left, t) => ((sigma ** 2 / N) * (1 - left) ** 2) / Math.max(t, 1e-12);
      const out = { sigma };
      methods.forEach((r, i) => {
        out[`left ${i}`] = data.t.map(r);
        out[`error ${i}`] = data.d * sum(nodes.map((t, k) => weights[k] * (r(t) ** 2 + noise(r(t), t))));
      });
      return out;
    },

    /** 28: the loss of heads that climb one after the other, its levels, and when drops are half done. */
    staircase({ n, ratio, start }, { times }) {
      const powers = [0, 1, 2, 3].map((m) => ratio ** m);
      const lam = powers.map((power) => power / sum(powers));
      const K = lam.map((v) => (1 + 1 / n) * v ** 2 + v / n);
      const gains = lam.map((v, m) => v ** 3 / K[m]);
      const half = (v, m) => Math.cbrt((1 - 0.5 ** 0.5) * (v / K[m]));
      const halves = lam.map((v, m) => passed(half(v, m), start, v, K[m]));
      const loss = fill(times.length, 1);
      lam.forEach((v, m) => {
        const end = Math.cbrt(v / K[m]);
        const sizes = fill(2000, 0).map((_, k) => start * (((1 - 1e-9) * end) / start) ** (k / 1999));
        const reached = sizes.map((size) => passed(size, start, v, K[m]));
        interpolated(times, reached, sizes).forEach((size, k) => {
          const done = (size / end) ** 3;
          loss[k] -= gains[m] * (2 * done - done ** 2);
        });
      });
      const out = { loss, first: halves[0], last: halves.at(-1) };
      for (let m = 0; m <= 4; m++) out[`height ${m}`] = 1 - sum(gains.slice(0, m));
      return out;
    },

    /** 29: the relative error of one layer when the covariance is stretched, and its two parts. */
    stretch({ N, M, d, c }, { stretches }) {
      const m = N / (N + d + 1);
      const parts = [(v) => (1 - m * v) ** 2, (v) => ((m * v) ** 2 * (d + 1)) / M];
      const kinds = [(v) => parts[0](v) + parts[1](v), ...parts];
      const out = { c };
      kinds.forEach((of, i) => {
        out[`error ${i}`] = stretches.map(of);
        out[`here ${i}`] = of(c);
      });
      return out;
    },
  };

  /** The numbers of a figure at these values of its controls: the formula's, and its data. */
  const numbers = (figure, values) => ({ ...figure.data, ...formulas[figure.formula](values, figure.data) });

  // --- numbers and text ------------------------------------------------------------------------------------------

  const raised = (k) => `10${[...String(k)].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("")}`;

  /** A text as it is, a number with three digits; 2.1·10⁻³ where zeros would have to be counted. */
  function short(value) {
    if (typeof value === "string") return value;
    if (value === null || !Number.isFinite(value)) return "none";
    const [digits, power] = value.toExponential(2).split("e").map(Number);
    if (Number.isInteger(value) && Math.abs(value) < 1e5) return String(value).replace("-", "−");
    if (power >= -3 && power < 5) return value.toFixed(Math.max(0, 2 - power)).replace("-", "−");
    return (digits === 1 ? "" : `${digits}·`.replace("-", "−")) + raised(power);
  }

  /** Text with the letters between dollars in italics, into an element. */
  function write(element, text) {
    text.split("$").forEach((part, i) => {
      const inside = element.namespaceURI.endsWith("svg") ? svg("tspan") : html(i % 2 ? "i" : "span");
      if (i % 2) inside.setAttribute("font-style", "italic");
      inside.textContent = part.replaceAll("\\kappa", "κ").replaceAll("\\sigma", "σ").replace(/_(\d)/g, (_, k) => "₀₁₂₃₄₅₆₇₈₉"[k]);
      element.append(inside);
    });
    return element;
  }

  function make(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
  const html = (name, attributes = {}, ...children) => make(document.createElement(name), attributes, children);
  const svg = (name, attributes = {}, ...children) =>
    make(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

  // --- charts ----------------------------------------------------------------------------------------------------

  /** A curve's colours, of which lintf_play.css takes that of the theme, and its dashes. */
  const stroke = ({ light, dark, dash }) =>
    `--lintf-light: ${light}; --lintf-dark: ${dark}; stroke-dasharray: ${dash.join(" ") || "none"}`;

  /** Where values of an axis lie between two points of the drawing, and its ticks with their labels. */
  function axis(kind, [low, high], from, to, room) {
    const log = kind === "log";
    const [first, last] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
    const place = (v) => from + (((log ? Math.log10(v) : v) - first) / (last - first)) * (to - from);
    const most = Math.max(2, Math.floor(Math.abs(to - from) / room));
    const ticks = [];
    if (log) {
      const step = Math.max(1, Math.ceil((last - first) / most));
      for (let k = Math.ceil(first - 1e-9); k <= last + 1e-9; k += step)
        ticks.push([10 ** k, Math.abs(k) < 3 ? String(Number((10 ** k).toPrecision(3))) : raised(k)]);
    } else {
      const rough = (last - first) / most;
      const power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough);
      for (let k = Math.ceil(first / step - 1e-9); k * step <= last + 1e-9 * step; k++)
        ticks.push([k * step, String(Number((k * step).toPrecision(6))).replace("-", "−")]);
    }
    return { place, ticks };
  }

  /** A path through points, with gaps where there is no number. */
  function path(xs, ys, x, y) {
    let [text, pen] = ["", "M"];
    xs.forEach((value, k) => {
      const [u, v] = [x.place(value), value === null || ys[k] === null ? NaN : y.place(ys[k])];
      // On a logarithmic axis 0 is infinitely far down.
      const down = Math.min(1e4, Math.max(-1e4, v));
      const drawn = Number.isFinite(u) && !Number.isNaN(v);
      if (drawn) text += `${pen}${u.toFixed(1)} ${down.toFixed(1)}`;
      pen = drawn ? "L" : "M";
    });
    return text;
  }

  let ids = 0;

  /** A panel of curves, drawn anew as an SVG so many pixels wide. */
  function drawLines(panel, found, width, hidden) {
    const height = Math.round(Math.min(330, Math.max(230, 0.5 * width)) * (panel.height ?? 1));
    const [left, right, top, bottom] = [58, width - 10, 8, height - 40];
    const x = axis(panel.xscale, panel.xlim, left, right, 64);
    const y = axis(panel.yscale, panel.ylim, bottom, top, 34);
    const box = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "lintf-play-lines" });
    for (const [value, text] of x.ticks) {
      const u = x.place(value);
      box.append(svg("path", { d: `M${u} ${top}V${bottom}`, class: "lintf-grid" }));
      box.append(svg("text", { x: u, y: bottom + 16, "text-anchor": "middle" }, text));
    }
    for (const [value, text] of y.ticks) {
      const v = y.place(value);
      box.append(svg("path", { d: `M${left} ${v}H${right}`, class: "lintf-grid" }));
      box.append(svg("text", { x: left - 6, y: v + 4, "text-anchor": "end" }, text));
    }
    box.append(svg("path", { d: `M${left} ${top}V${bottom}H${right}`, class: "lintf-axis" }));
    box.append(write(svg("text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }), panel.xlabel));
    const turned = { transform: `translate(12 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" };
    box.append(write(svg("text", turned), panel.ylabel));

    const clip = `lintf-clip-${ids++}`;
    const frame = svg("rect", { x: left, y: top - 1, width: right - left, height: bottom - top + 2 });
    const inside = svg("g", { "clip-path": `url(#${clip})` });
    box.append(svg("clipPath", { id: clip }, frame), inside);
    const at = (key) => (typeof key === "number" ? key : found[key]);
    for (const area of panel.areas) {
      const line = path(at(area.x), at(area.y), x, y);
      const [ends, base] = [at(area.x).map((v) => x.place(v)), y.place(Math.max(0, panel.ylim[0]))];
      inside.append(svg("path", { d: `${line}L${ends.at(-1)} ${base}L${ends[0]} ${base}Z`, class: "lintf-area" }));
    }
    for (const mark of panel.marks) {
      const value = at(mark.at);
      const d = mark.across ? `M${left} ${y.place(value)}H${right}` : `M${x.place(value)} ${top}V${bottom}`;
      if (Number.isFinite(value)) inside.append(svg("path", { d, class: "lintf-mark" }));
    }
    for (const curve of panel.curves) {
      if (hidden.has(curve.name)) continue;
      const style = stroke(curve);
      if (curve.dot) {
        const [u, v] = [x.place(at(curve.dot)), y.place(at(curve.value))];
        if (Number.isFinite(u + v)) box.append(svg("circle", { cx: u, cy: v, r: 5, style, class: "lintf-dot" }));
      }
      inside.append(svg("path", { d: path(at(curve.x), at(curve.y), x, y), class: "lintf-curve", style }));
    }
    return box;
  }

  /** The colour of a share of the strongest one: from blue through the ground to red. */
  function shade(share) {
    if (!Number.isFinite(share)) return "fill: var(--lintf-none)";
    const strength = Math.round(100 * Math.min(1, Math.abs(share)));
    return `fill: color-mix(in srgb, var(--lintf-${share < 0 ? "minus" : "plus"}) ${strength}%, var(--lintf-ground))`;
  }

  /** A panel of squares with their numbers; the chosen one has a frame. */
  function drawCells(panel, found, width, [row, column]) {
    const [values, shares] = [found[panel.cells], found[panel.shade ?? panel.cells]];
    const [rows, columns] = [panel.rows, panel.columns];
    const [left, below] = [rows ? 40 : 2, columns ? 40 : 2];
    const side = Math.min(panel.largest, (width - left - 2) / values[0].length);
    const [w, h] = [left + side * values[0].length + 2, 22 + side * Math.min(1, panel.flat) * values.length + below];
    const tall = side * Math.min(1, panel.flat);
    const box = svg("svg", { viewBox: `0 0 ${w} ${h}`, width: w, height: h, class: "lintf-play-cells" });
    const value = panel.value ? ` ${short(found[panel.value])}` : "";
    box.append(write(svg("text", { x: left + (w - left) / 2, y: 14, "text-anchor": "middle" }), panel.title + value));
    values.forEach((line, i) =>
      line.forEach((number, j) => {
        const [u, v] = [left + j * side, 22 + (panel.up ? values.length - 1 - i : i) * tall];
        const share = shares[i][j] / panel.limit;
        const chosen = i === row && j === column;
        const place = { x: u, y: v, width: side, height: tall, style: shade(share), "data-cell": `${i} ${j}` };
        box.append(svg("rect", { ...place, class: chosen ? "lintf-cell lintf-chosen" : "lintf-cell" }));
        const text = Number.isFinite(number) && number !== null ? number.toFixed(panel.digits).replace("-", "−") : "×";
        const strong = Math.abs(share) > 0.55 ? "lintf-number lintf-strong" : "lintf-number";
        if (side >= 30) box.append(svg("text", { x: u + side / 2, y: v + tall / 2 + 4, class: strong }, text));
      }),
    );
    rows?.forEach((name, i) => {
      const v = 22 + (panel.up ? rows.length - 1 - i : i) * tall + tall / 2 + 4;
      box.append(svg("text", { x: left - 6, y: v, "text-anchor": "end" }, short(name)));
    });
    columns?.forEach((name, j) =>
      box.append(svg("text", { x: left + (j + 0.5) * side, y: h - below + 16, "text-anchor": "middle" }, short(name))),
    );
    if (columns) box.append(write(svg("text", { x: left + (w - left) / 2, y: h - 5, "text-anchor": "middle" }), panel.xlabel));
    if (rows) box.append(write(svg("text", { x: 12, y: 14 }), panel.ylabel));
    return box;
  }

  // --- controls --------------------------------------------------------------------------------------------------

  /** A slider over names, or a button for each of them. Calls changed() with the index of the new one. */
  function control(spec, name, id, changed) {
    if (spec.kind === "choice") {
      const group = html("fieldset", {}, write(html("legend"), spec.label));
      spec.names.forEach((text, i) => {
        const button = html("input", { type: "radio", name: `${id}-${name}`, value: i });
        button.checked = i === spec.start;
        button.addEventListener("change", () => changed(i));
        group.append(html("label", {}, button, html("span", {}, text)));
      });
      return { element: group, set: (i) => (group.querySelectorAll("input")[i].checked = true) };
    }
    const input = html("input", { type: "range", min: 0, max: spec.names.length - 1, step: 1, value: spec.start });
    const shown = html("output");
    const say = (i) => {
      const text = spec.names[i].includes("e") ? short(spec.values[i]) : spec.names[i];
      input.setAttribute("aria-valuetext", (shown.textContent = text));
    };
    input.addEventListener("input", () => (say(Number(input.value)), changed(Number(input.value))));
    say(spec.start);
    const element = html("label", {}, write(html("span"), spec.label), input, shown);
    return { element, set: (i) => ((input.value = i), say(i)) };
  }

  const still = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

  /** Moves one slider from its first place to its last one, a place for every beat; again: stops. */
  function runner(button, spec, place, move) {
    let timer = null;
    const stop = () => {
      clearInterval(timer);
      timer = null;
      button.textContent = "▶ Run";
    };
    button.addEventListener("click", () => {
      if (timer) return stop();
      if (place() === spec.names.length - 1) move(0);
      button.textContent = "❚❚ Pause";
      timer = setInterval(() => (place() < spec.names.length - 1 ? move(place() + 1) : stop()), 150);
    });
    stop();
    return stop;
  }

  /** An entry of the legend: a button that hides its curve and shows it again. */
  function entry(curve, hidden, draw) {
    const line = svg("path", { d: "M0 5H36", style: stroke(curve), class: "lintf-curve" });
    const sample = svg("svg", { width: 36, height: 10, "aria-hidden": "true" }, line);
    const value = html("b");
    const button = html("button", { type: "button", "aria-pressed": "true" }, sample, write(html("span"), curve.name), value);
    button.addEventListener("click", () => {
      const shown = hidden.delete(curve.name);
      if (!shown) hidden.add(curve.name);
      button.setAttribute("aria-pressed", String(shown));
      draw();
    });
    return { button, value };
  }

  // --- one figure ------------------------------------------------------------------------------------------------

  /** Puts a figure in front of the still picture that follows its script. */
  function mount(script) {
    const figure = JSON.parse(script.textContent);
    const places = Object.fromEntries(Object.entries(figure.controls).map(([name, spec]) => [name, spec.start]));
    const here = () =>
      Object.fromEntries(Object.entries(places).map(([name, i]) => [name, figure.controls[name].values[i]]));
    const [id, hidden, setters] = [`lintf-play-${ids++}`, new Set(), {}];
    const squares = figure.panels.filter((panel) => panel.cells);
    let chosen = figure.chosen;

    const board = html("div", { class: "lintf-play-controls" });
    const title = html("output", { class: "lintf-play-title" });
    const drawing = html("div", { class: "lintf-play-drawing" });
    const legend = html("div", { class: "lintf-play-legend", role: "group", "aria-label": "curves" });
    const tip = html("p", { class: "lintf-play-tip", "aria-live": "polite" });
    let stop = () => {};
    for (const [name, spec] of Object.entries(figure.controls)) {
      const made = control(spec, name, id, (i) => (stop(), (places[name] = i), draw()));
      setters[name] = made.set;
      board.append(made.element);
    }
    const move = (wanted) => {
      for (const [name, i] of Object.entries(wanted)) setters[name]((places[name] = i));
      draw();
    };
    for (const [name, wanted] of Object.entries(figure.buttons)) {
      const button = html("button", { type: "button", class: "lintf-play-button" }, name);
      button.addEventListener("click", () => move(wanted));
      board.append(button);
    }
    if (figure.run && !still()) {
      const button = html("button", { type: "button", class: "lintf-play-button" });
      stop = runner(button, figure.controls[figure.run], () => places[figure.run], (i) => move({ [figure.run]: i }));
      board.append(button);
    }

    const entries = [];
    for (const curve of figure.panels.flatMap((panel) => panel.curves ?? [])) {
      if (!curve.name || entries.some((other) => other.curve.name === curve.name)) continue;
      const made = entry(curve, hidden, () => draw());
      entries.push({ curve, ...made });
      legend.append(made.button);
    }
    for (const area of figure.panels.flatMap((panel) => panel.areas ?? []))
      legend.append(html("span", { class: "lintf-play-area" }, write(html("span"), area.name)));
    for (const mark of figure.panels.flatMap((panel) => panel.marks ?? []))
      if (mark.name) legend.append(html("span", { class: "lintf-play-mark" }, write(html("span"), mark.name)));

    function draw() {
      const found = numbers(figure, here());
      const width = Math.max(260, Math.floor(drawing.clientWidth) || 640);
      title.replaceChildren();
      write(title, figure.title.map(([text, key]) => (key ? `${text} ${short(found[key])}` : text)).join(", "));
      for (const { curve, value } of entries) value.textContent = curve.value ? short(found[curve.value]) : "";
      const row = squares.length > 1 && width < 560 ? 3 : Math.max(1, squares.length);
      const share = squares.length > 1 ? Math.floor(width / row) - 8 : width;
      const made = figure.panels.map((panel) =>
        panel.cells ? drawCells(panel, found, share, chosen) : drawLines(panel, found, width, hidden),
      );
      for (const box of made) box.setAttribute("aria-hidden", "true");
      drawing.replaceChildren(...made);
      const words = entries.map(({ curve, value }) => `${curve.name} ${value.textContent}`.replaceAll("$", ""));
      drawing.setAttribute("aria-label", `${title.textContent}. ${words.join(", ")}`);
      if (squares.length) say(found);
    }

    /** What is known of the chosen square. */
    function say(found) {
      const [i, j] = chosen;
      const [first] = squares;
      const where = first.rows
        ? `${first.ylabel} = ${first.rows[i]}, ${first.xlabel} = ${first.columns[j]}`
        : `row ${i + 1}, column ${j + 1}`;
      const all = first.tips.map(([text, key]) => `${text} ${short(found[key][i][j])}`);
      tip.replaceChildren();
      write(tip, `${where}: ${all.join(", ")}`);
    }

    /** Chooses a square, by pointer or by the arrow keys. */
    function choose(i, j) {
      const values = numbers(figure, here())[squares[0].cells];
      const within = (k, count) => Math.max(0, Math.min(count - 1, k));
      chosen = [within(i, values.length), within(j, values[0].length)];
      draw();
    }

    drawing.setAttribute("role", "img");
    if (squares.length) {
      drawing.tabIndex = 0;
      drawing.setAttribute("role", "application");
      drawing.setAttribute("aria-roledescription", "map, arrow keys choose a square");
      const hit = (event) => {
        const cell = event.target.dataset?.cell?.split(" ").map(Number);
        if (cell && String(cell) !== String(chosen)) choose(...cell);
      };
      drawing.addEventListener("pointermove", hit);
      drawing.addEventListener("pointerdown", hit);
      drawing.addEventListener("keydown", (event) => {
        const up = squares[0].up ? 1 : -1;
        const step = { ArrowUp: [up, 0], ArrowDown: [-up, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
        if (!step) return;
        event.preventDefault();
        choose(chosen[0] + step[0], chosen[1] + step[1]);
      });
    }

    const box = html("div", { class: "lintf-play", "data-formula": figure.formula });
    box.append(board, title, drawing);
    if (legend.children.length) box.append(legend);
    if (squares.length) box.append(tip);
    script.before(box);
    try {
      draw();
    } catch (problem) {
      box.remove(); // the still picture stays
      throw problem;
    }
    script.closest("figure, .cell_output").classList.add("lintf-playing");
    let before = drawing.clientWidth;
    new ResizeObserver(() => {
      if (drawing.clientWidth && drawing.clientWidth !== before) draw();
      before = drawing.clientWidth;
    }).observe(drawing);
  }

  document.querySelectorAll("script.lintf-play-data").forEach(mount);

  return { formulas, numbers, short };
})();
