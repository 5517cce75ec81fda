// The stick-figure player of a report. Several tracks of one motion, or several motions, in step: play, scrub, drag to turn.
// Motions of different lengths take the same time, each from its beginning to its end.
"use strict";
(function () {
  const ABSENT = -32768; // how the writer marks a joint that is not there

  function bytes(text) {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  }

  function unpack(track, unit, count) {
    const raw = new Int16Array(bytes(track.data).buffer); // little-endian, as every browser's machine is
    const points = new Float32Array(raw.length);
    for (let i = 0; i < raw.length; i++) points[i] = raw[i] === ABSENT ? NaN : raw[i] * unit;
    const mask = track.mask ? bytes(track.mask) : new Uint8Array(count);
    return { points: points, mask: mask };
  }

  function start(box) {
    const canvases = Array.from(box.querySelectorAll("canvas"));
    const views = [];
    for (const data of box.querySelectorAll(".data")) {
      const motion = JSON.parse(data.textContent);
      for (const track of motion.tracks) {
        const canvas = canvases[views.length];
        views.push({ motion: motion, track: unpack(track, motion.unit, motion.frames * motion.people * motion.joints), canvas: canvas, seen: true });
      }
    }
    const alone = views.every((view) => view.motion === views[0].motion);
    const steps = Math.max(...views.map((view) => view.motion.frames));
    const seconds = Number(box.dataset.seconds);
    const button = box.querySelector("button");
    const slider = box.querySelector("input");
    const speed = box.querySelector("select");
    const clock = box.querySelector(".clock");
    const above = 0.16; // radians from which people are seen, where they are not flat
    let turned = 0, tilted = 0; // radians that the reader has turned all views
    let share = 0, playing = false, before = null, stopped = false, colours = {}; // share of the motions that is over

    // the middle of some spots
    function between(spots) {
      const mean = (value) => spots.map(value).reduce((a, b) => a + b) / spots.length;
      return { xy: [mean((s) => s.xy[0]), mean((s) => s.xy[1])], near: mean((s) => s.near), hidden: spots.some((s) => s.hidden) };
    }

    function readColours() {
      const style = getComputedStyle(document.documentElement);
      const get = (name) => style.getPropertyValue("--" + name).trim();
      colours = {
        body: [[get("mid"), get("left"), get("right")], [get("mid2"), get("left2"), get("right2")]],
        floor: get("floor"), soft: get("soft"), card: get("card"),
      };
    }

    // from a world point to right, up and towards the viewer
    function turning(motion) {
      const yaw = motion.yaw + turned, pitch = Math.max(-1.5, Math.min(1.5, (motion.flat ? 0 : above) + tilted));
      const c = Math.cos(yaw), s = Math.sin(yaw), cp = Math.cos(pitch), sp = Math.sin(pitch);
      return (x, y, z) => {
        const right = c * x + s * z, near = -s * x + c * z;
        return [right, cp * y - sp * near, sp * y + cp * near];
      };
    }

    function drawFloor(motion, pen, turn, put2, cx, cz) {
      const step = motion.grid, reach = motion.radius * 1.1;
      const put = (x, z) => put2(turn(x - cx, motion.ground - motion.middle, z - cz));
      pen.strokeStyle = colours.floor;
      pen.lineWidth = 1;
      pen.beginPath();
      const n = Math.ceil(reach / step);
      const x0 = Math.round(cx / step), z0 = Math.round(cz / step);
      for (let i = -n; i <= n; i++) {
        for (const line of [[(x0 + i) * step, (z0 - n) * step, (x0 + i) * step, (z0 + n) * step],
                            [(x0 - n) * step, (z0 + i) * step, (x0 + n) * step, (z0 + i) * step]]) {
          pen.moveTo(...put(line[0], line[1]));
          pen.lineTo(...put(line[2], line[3]));
        }
      }
      pen.stroke();
    }

    function drawView(view) {
      const motion = view.motion, track = view.track, canvas = view.canvas;
      const M = motion.people, J = motion.joints;
      const frame = Math.max(0, Math.min(motion.frames - 1, Math.floor(share * motion.frames)));
      const ratio = window.devicePixelRatio || 1;
      const width = canvas.clientWidth, height = canvas.clientHeight;
      if (!width || !height) return;
      if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
      }
      const pen = canvas.getContext("2d");
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, width, height);
      const scale = 0.47 * Math.min(width, height) / motion.radius;
      const put = (p) => [width / 2 + p[0] * scale, height / 2 - p[1] * scale];
      const cx = motion.centre[2 * frame], cz = motion.centre[2 * frame + 1];
      const turn = turning(motion);
      if (!motion.flat) drawFloor(motion, pen, turn, put, cx, cz);

      const strokes = [];
      for (let m = 0; m < M; m++) {
        const at = [];
        let high = null;
        for (let j = 0; j < J; j++) {
          const i = ((frame * M + m) * J + j) * 3;
          const p = track.points;
          if (Number.isNaN(p[i])) { at.push(null); continue; }
          const t = turn(p[i] - cx, p[i + 1] - motion.middle, p[i + 2] - cz);
          const spot = { xy: put(t), near: t[2], hidden: track.mask[(frame * M + m) * J + j] > 0 };
          at.push(spot);
          if (!high || spot.xy[1] < high.xy[1]) high = spot;
        }
        for (const [a, b] of motion.middles) at.push(at[a] && at[b] ? between([at[a], at[b]]) : null);
        for (const [a, b, side] of motion.edges) {
          if (at[a] && at[b]) strokes.push({ near: (at[a].near + at[b].near) / 2, m: m, side: side, from: at[a], to: at[b] });
        }
        const head = motion.head.filter((j) => at[j]);
        for (let j = 0; j < J; j++) {
          if (!at[j] || (head.length === 1 && head[0] === j)) continue;
          strokes.push({ near: at[j].near + 1e-4 * motion.radius, m: m, side: motion.sides[j], from: at[j], to: null });
        }
        if (head.length) {
          const spot = between(head.map((j) => at[j]));
          strokes.push({ near: spot.near + 2e-4 * motion.radius, m: m, side: 0, from: spot, to: null, head: head.length });
        }
        const over = head.length ? motion.skull * scale : 0;
        if (M > 1 && high) strokes.push({ near: Infinity, m: m, side: 0, from: high, to: null, text: String(m + 1), over: over });
      }
      strokes.sort((a, b) => a.near - b.near);
      const thick = Math.max(1.5, 0.011 * Math.min(width, height)) * (J > 40 ? 0.6 : 1);
      pen.lineCap = "round";
      for (const s of strokes) {
        const depth = Math.max(-1, Math.min(1, s.near / (0.5 * motion.radius)));
        const colour = colours.body[s.m % 2][s.side];
        const hidden = s.from.hidden || (s.to && s.to.hidden);
        pen.globalAlpha = (0.8 + 0.2 * depth) * (hidden && s.to ? 0.45 : 1);
        pen.strokeStyle = pen.fillStyle = colour;
        pen.lineWidth = thick * (1 + 0.15 * depth);
        if (s.text) {
          pen.globalAlpha = 1;
          pen.font = "600 " + Math.round(0.045 * height + 4) + "px system-ui, sans-serif";
          pen.textAlign = "center";
          pen.fillText(s.text, s.from.xy[0], s.from.xy[1] - 2 * thick - s.over);
        } else if (s.to) {
          pen.setLineDash(hidden ? [thick, 2.2 * thick] : []);
          pen.beginPath();
          pen.moveTo(...s.from.xy);
          pen.lineTo(...s.to.xy);
          pen.stroke();
          pen.setLineDash([]);
        } else {
          pen.beginPath();
          pen.arc(s.from.xy[0], s.from.xy[1], s.head ? Math.max(1.5 * thick, motion.skull * scale) : 1.05 * thick, 0, 7);
          if (s.head > 1) { // around nose and ears
            pen.lineWidth = 0.8 * thick;
            pen.stroke();
          } else if (hidden) { // hollow: cut out of the bones, with a thin rim
            pen.globalAlpha = 1;
            pen.fillStyle = colours.card;
            pen.lineWidth = 0.45 * thick;
            pen.fill();
            pen.stroke();
          } else pen.fill();
        }
      }
      pen.globalAlpha = 1;
    }

    function draw() {
      for (const view of views) if (view.seen) drawView(view);
      slider.value = Math.floor(share * steps);
      clock.textContent = alone ? (share * seconds).toFixed(2) + " / " + seconds.toFixed(2) + " s" : Math.round(100 * share) + " %";
    }

    function tick(now) {
      if (!playing) return;
      if (before !== null) share += Math.min(0.25, (now - before) / 1000) * Number(speed.value) / seconds;
      before = now;
      if (share >= 1) share = 0;
      draw();
      requestAnimationFrame(tick);
    }

    function play(on) {
      on = on && steps > 1;
      if (on === playing) return;
      playing = on;
      before = null;
      button.textContent = on ? "Pause" : "Play";
      if (on) requestAnimationFrame(tick);
    }

    button.addEventListener("click", () => { stopped = playing; play(!playing); });
    slider.addEventListener("input", () => { stopped = true; play(false); share = (Number(slider.value) + 0.5) / steps; draw(); });
    for (const canvas of canvases) {
      let grip = null;
      canvas.addEventListener("pointerdown", (e) => { grip = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
      canvas.addEventListener("pointermove", (e) => {
        if (!grip) return;
        turned -= (e.clientX - grip[0]) * 0.01;
        tilted = Math.max(-1.7, Math.min(1.7, tilted + (e.clientY - grip[1]) * 0.01));
        grip = [e.clientX, e.clientY];
        draw();
      });
      for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { grip = null; });
      canvas.addEventListener("dblclick", () => { turned = tilted = 0; draw(); });
    }
    window.addEventListener("resize", draw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); draw(); });
    readColours();
    draw();
    // plays by itself while it is on the screen, unless the reader stopped it or wants no motion
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const eye = new IntersectionObserver((entries) => {
      for (const entry of entries) for (const view of views) if (view.canvas === entry.target) view.seen = entry.isIntersecting;
      draw();
      play(views.some((view) => view.seen) && !stopped && !calm);
    });
    for (const canvas of canvases) eye.observe(canvas);
  }

  document.querySelectorAll(".motion").forEach(start);
})();
