// The stick-figure player of a report. Several tracks of one motion, in step: play, scrub, drag to turn.
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
    return { name: track.name, points: points, mask: mask };
  }

  function start(box) {
    const motion = JSON.parse(box.querySelector(".data").textContent);
    const T = motion.frames, M = motion.people, J = motion.joints;
    const tracks = motion.tracks.map((track) => unpack(track, motion.unit, T * M * J));
    const canvases = Array.from(box.querySelectorAll("canvas"));
    const button = box.querySelector("button");
    const slider = box.querySelector("input");
    const speed = box.querySelector("select");
    const clock = box.querySelector(".clock");
    let yaw = motion.yaw, pitch = motion.flat ? 0 : 0.16;
    let time = 0, playing = false, before = null, seen = false, stopped = false, colours = {};

    function readColours() {
      const style = getComputedStyle(document.documentElement);
      const get = (name) => style.getPropertyValue("--" + name).trim();
      colours = {
        body: [[get("mid"), get("left"), get("right")], [get("mid2"), get("left2"), get("right2")]],
        floor: get("floor"), soft: get("soft"), card: get("card"),
      };
    }

    // right, up and towards the viewer of a world point
    function turn(x, y, z) {
      const c = Math.cos(yaw), s = Math.sin(yaw), cp = Math.cos(pitch), sp = Math.sin(pitch);
      const right = c * x + s * z, near = -s * x + c * z;
      return [right, cp * y - sp * near, sp * y + cp * near];
    }

    function drawFloor(pen, view, cx, cz) {
      const step = motion.grid, reach = motion.radius * 1.1;
      const put = (x, z) => view.put(turn(x - cx, motion.ground - motion.middle, z - cz));
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

    function drawTrack(track, canvas, frame) {
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
      const view = { put: (p) => [width / 2 + p[0] * scale, height / 2 - p[1] * scale] };
      const cx = motion.centre[2 * frame], cz = motion.centre[2 * frame + 1];
      if (!motion.flat) drawFloor(pen, view, cx, cz);

      const strokes = [];
      for (let m = 0; m < M; m++) {
        const at = [];
        let high = null;
        for (let j = 0; j < J; j++) {
          const i = ((frame * M + m) * J + j) * 3;
          const p = track.points;
          if (Number.isNaN(p[i])) { at.push(null); continue; }
          const t = turn(p[i] - cx, p[i + 1] - motion.middle, p[i + 2] - cz);
          const spot = { xy: view.put(t), near: t[2], hidden: track.mask[(frame * M + m) * J + j] > 0 };
          at.push(spot);
          if (!high || spot.xy[1] < high.xy[1]) high = spot;
        }
        for (const [a, b] of motion.edges) {
          if (at[a] && at[b]) strokes.push({ near: (at[a].near + at[b].near) / 2, m: m, j: a, from: at[a], to: at[b] });
        }
        for (let j = 0; j < J; j++) {
          if (at[j]) strokes.push({ near: at[j].near + 1e-4 * motion.radius, m: m, j: j, from: at[j], to: null });
        }
        if (M > 1 && high) strokes.push({ near: Infinity, m: m, j: 0, from: high, to: null, text: String(m + 1) });
      }
      strokes.sort((a, b) => a.near - b.near);
      const thick = Math.max(1.5, 0.011 * Math.min(width, height)) * (J > 40 ? 0.6 : 1);
      pen.lineCap = "round";
      for (const s of strokes) {
        const depth = Math.max(-1, Math.min(1, s.near / (0.5 * motion.radius)));
        const colour = colours.body[s.m % 2][motion.sides[s.j]];
        const hidden = s.from.hidden || (s.to && s.to.hidden);
        pen.globalAlpha = (0.8 + 0.2 * depth) * (hidden && s.to ? 0.45 : 1);
        pen.strokeStyle = pen.fillStyle = colour;
        pen.lineWidth = thick * (1 + 0.15 * depth);
        if (s.text) {
          pen.globalAlpha = 1;
          pen.font = "600 " + Math.round(0.045 * height + 4) + "px system-ui, sans-serif";
          pen.textAlign = "center";
          pen.fillText(s.text, s.from.xy[0], s.from.xy[1] - 3 * thick);
        } else if (s.to) {
          pen.setLineDash(hidden ? [thick, 2.2 * thick] : []);
          pen.beginPath();
          pen.moveTo(...s.from.xy);
          pen.lineTo(...s.to.xy);
          pen.stroke();
          pen.setLineDash([]);
        } else {
          pen.beginPath();
          pen.arc(s.from.xy[0], s.from.xy[1], thick * (motion.heads.includes(s.j) ? 2 : 1.05), 0, 7);
          if (hidden) { // hollow: cut out of the bones, with a thin rim
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
      const frame = Math.max(0, Math.min(T - 1, Math.floor(time * motion.fps)));
      tracks.forEach((track, i) => drawTrack(track, canvases[i], frame));
      slider.value = frame;
      clock.textContent = (frame / motion.fps).toFixed(2) + " / " + (T / motion.fps).toFixed(2) + " s";
    }

    function tick(now) {
      if (!playing) return;
      if (before !== null) time += Math.min(0.25, (now - before) / 1000) * Number(speed.value);
      before = now;
      if (time >= T / motion.fps) time = 0;
      draw();
      requestAnimationFrame(tick);
    }

    function play(on) {
      on = on && T > 1;
      if (on === playing) return;
      playing = on;
      before = null;
      button.textContent = on ? "Pause" : "Play";
      if (on) requestAnimationFrame(tick);
    }

    button.addEventListener("click", () => { stopped = playing; play(!playing); });
    slider.addEventListener("input", () => { stopped = true; play(false); time = (Number(slider.value) + 0.5) / motion.fps; draw(); });
    for (const canvas of canvases) {
      let grip = null;
      canvas.addEventListener("pointerdown", (e) => { grip = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
      canvas.addEventListener("pointermove", (e) => {
        if (!grip) return;
        yaw -= (e.clientX - grip[0]) * 0.01;
        pitch = Math.max(-1.5, Math.min(1.5, pitch + (e.clientY - grip[1]) * 0.01));
        grip = [e.clientX, e.clientY];
        draw();
      });
      for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { grip = null; });
      canvas.addEventListener("dblclick", () => { yaw = motion.yaw; pitch = motion.flat ? 0 : 0.16; draw(); });
    }
    window.addEventListener("resize", draw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); draw(); });
    readColours();
    draw();
    // plays by itself while it is on the screen, unless the reader stopped it or wants no motion
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    new IntersectionObserver((entries) => {
      seen = entries[entries.length - 1].isIntersecting;
      play(seen && !stopped && !still);
    }).observe(box);
  }

  document.querySelectorAll(".motion").forEach(start);
})();
