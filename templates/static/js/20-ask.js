// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
// A picture to begin with is dropped, pasted and painted over.

/** Puts a file into a field, as if somebody had chosen it there; none empties the field. */
function choose(field, file) {
  const carrier = new DataTransfer();
  if (file) carrier.items.add(file);
  field.files = carrier.files;
}

/** The picture with the mask over it, which is painted with a finger, a pen or a mouse. */
class Painting {
  constructor(place, field) {
    this.place = place;
    this.field = field;
    this.strokes = [];
    /** Resolves when the mask of what was painted is in the field; there is none when it is. */
    this.unfinished = null;
    place.innerHTML = `
      <div class="canvases"><canvas class="photo"></canvas><canvas class="over"></canvas></div>
      <p class="hint">Paint over what should change. Without paint, all of it may.</p>
      <div class="tools">
        <label>Brush <input type="range" min="1" max="30" value="10"></label>
        <button class="plain" type="button" name="undo">Undo</button>
        <button class="plain" type="button" name="clear">Clear</button>
      </div>`;
    [this.photo, this.over] = place.querySelectorAll("canvas");
    this.brush = place.querySelector("input");
    place.querySelector("[name=undo]").addEventListener("click", () => this.keep(this.strokes.slice(0, -1)));
    place.querySelector("[name=clear]").addEventListener("click", () => this.keep([]));
    this.over.addEventListener("pointerdown", (event) => this.begin(event));
    // A mask from elsewhere takes the place of what was painted.
    field.addEventListener("change", () => {
      this.unfinished = null;
      this.draw((this.strokes = []));
    });
  }

  /** Shows another picture, without a mask. */
  show(bitmap) {
    for (const canvas of [this.photo, this.over]) Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
    this.photo.getContext("2d").drawImage(bitmap, 0, 0);
    this.photo.parentElement.style.setProperty("--shape", bitmap.width / bitmap.height);
    this.place.hidden = false;
    this.keep([]);
  }

  hide() {
    this.place.hidden = true;
    this.keep([]);
  }

  begin(event) {
    const { over } = this;
    const frame = over.getBoundingClientRect();
    const point = ({ clientX, clientY }) => [
      ((clientX - frame.left) * over.width) / frame.width,
      ((clientY - frame.top) * over.height) / frame.height,
    ];
    const stroke = { width: (Math.min(over.width, over.height) * this.brush.value) / 60, points: [point(event)] };
    const strokes = [...this.strokes, stroke];
    const move = (moved) => this.draw(strokes, stroke.points.push(point(moved)));
    const end = () => {
      over.removeEventListener("pointermove", move);
      this.keep(strokes);
    };
    event.preventDefault();
    over.setPointerCapture(event.pointerId);
    over.addEventListener("pointermove", move);
    over.addEventListener("lostpointercapture", end, { once: true });
    this.draw(strokes);
  }

  draw(strokes) {
    const brush = this.over.getContext("2d");
    brush.clearRect(0, 0, this.over.width, this.over.height);
    Object.assign(brush, { lineCap: "round", lineJoin: "round", strokeStyle: "#e0218a" });
    for (const { width, points } of strokes) {
      brush.lineWidth = width;
      brush.beginPath();
      brush.moveTo(...points[0]);
      // A point alone is a dot.
      for (const point of points.length > 1 ? points : [...points, points[0]]) brush.lineTo(...point);
      brush.stroke();
    }
  }

  /** These strokes are the mask: white where they are, black elsewhere. */
  keep(strokes) {
    this.strokes = strokes;
    this.draw(strokes);
    this.unfinished = null;
    if (strokes.length === 0) return choose(this.field, null);
    const { width, height } = this.over;
    const mask = Object.assign(document.createElement("canvas"), { width, height });
    const brush = mask.getContext("2d");
    brush.drawImage(this.over, 0, 0);
    for (const [how, colour] of [["source-in", "#fff"], ["destination-over", "#000"]]) {
      Object.assign(brush, { globalCompositeOperation: how, fillStyle: colour });
      brush.fillRect(0, 0, width, height);
    }
    this.unfinished = new Promise((done) => mask.toBlob(done, "image/png")).then((blob) => {
      if (this.strokes !== strokes) return;
      choose(this.field, new File([blob], "mask.png", { type: "image/png" }));
      this.unfinished = null;
    });
  }
}

/** Bytes of a PNG before its pixels, among which its texts are. */
const HEAD_BYTES = 65536;

/** Whether a picture says how it was made. */
async function carriesSettings(file) {
  const head = await file.slice(0, HEAD_BYTES).text().catch(() => "");
  return head.includes("PNG") && head.includes("parameters\0");
}

/** The part of the form for a picture to begin with. */
function beginWithPicture(part) {
  const form = part.closest("form");
  const field = part.querySelector("#image");
  const painting = new Painting(part.querySelector(".paint"), part.querySelector("#mask"));
  const source = part.querySelector(".source img");
  const strength = part.querySelector("#strength");
  const said = part.querySelector("output");
  const say = () => (said.textContent = `${Math.round(strength.value * 100)} %`);
  strength.addEventListener("input", say);
  say();

  const size = form.querySelector("#size");
  let chosen = false;
  size.addEventListener("change", () => (chosen = true));
  const show = (bitmap) => {
    part.open = true;
    if (source) source.hidden = true;
    painting.show(bitmap);
    if (!chosen) size.value = "picture";
  };

  const restore = part.querySelector(".restore");
  const take = async () => {
    const [file] = field.files;
    restore.classList.toggle("offered", Boolean(file) && (await carriesSettings(file)));
    if (!file) return source ? show(source) : painting.hide();
    // What the browser cannot show, the server may still read or refuse.
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (bitmap) show(bitmap);
    else painting.hide();
  };
  field.addEventListener("change", take);
  // The way back finds the field as it was left.
  if (field.files.length > 0) take();
  else if (source) source.decode().then(() => show(source), () => {});

  const picture = (files) => [...files].find((file) => file.type.startsWith("image/"));
  const bring = (event, files) => {
    const file = picture(files);
    if (!file) return;
    event.preventDefault();
    choose(field, file);
    take();
  };
  addEventListener("paste", (event) => bring(event, event.clipboardData.files));
  addEventListener("dragover", (event) => {
    if (event.dataTransfer.types.includes("Files")) event.preventDefault();
  });
  addEventListener("drop", (event) => bring(event, event.dataTransfer.files));

  // Before the form is sent, the mask must be whole.
  form.addEventListener("submit", (event) => {
    if (!painting.unfinished) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const { submitter } = event;
    // A form is not sent again while it is being sent: not before this event is over.
    painting.unfinished.then(() => setTimeout(() => form.requestSubmit(submitter)));
  }, { capture: true });
}

const begin = document.querySelector(".begin");
if (begin) beginWithPicture(begin);
