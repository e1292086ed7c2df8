"use strict";

// The page is complete without this script, but for what is hidden until it runs.

const root = document.documentElement;

// The theme: as the system has it, or as chosen here.
const themes = ["system", "light", "dark"];
const theme = document.getElementById("theme");
const show = (name) => {
  if (name === "system") delete root.dataset.theme;
  else root.dataset.theme = name;
  theme.lastElementChild.textContent = name;
  theme.setAttribute("aria-label", `Theme: ${name}`);
};
theme.hidden = false;
show("system");
theme.addEventListener("click", () => {
  show(themes[(themes.indexOf(root.dataset.theme ?? "system") + 1) % themes.length]);
});

// The slider: where the later picture begins.
for (const slider of document.querySelectorAll(".stack > input")) {
  const move = () => {
    // The middle of the thumb is where the pictures meet.
    const half = 1.125;
    const share = slider.value / 100;
    slider.parentElement.style.setProperty("--split", `calc(${half}rem + (100% - ${2 * half}rem) * ${share})`);
  };
  slider.addEventListener("input", move);
  move();
}

// Videos and sounds: a sentence where one cannot be played, and both at once.
// Some phones play files, but no data URIs.
const asFile = (address) => {
  const [head, content] = address.split(",");
  const text = atob(content);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  return URL.createObjectURL(new Blob([bytes], { type: head.slice("data:".length, -";base64".length) }));
};
for (const media of document.querySelectorAll("video, audio")) {
  media.addEventListener("error", () => {
    media.parentElement.querySelector(".not-shown").hidden = false;
  });
  media.src = asFile(media.src);
}
for (const button of document.querySelectorAll(".both")) {
  const both = [...button.parentElement.querySelectorAll("video, audio")];
  button.hidden = both.length < 2;
  const label = () => {
    button.textContent = both.some((media) => !media.paused) ? "Pause both" : "Play both";
  };
  button.addEventListener("click", () => {
    const start = both.every((media) => media.paused);
    for (const media of both) {
      if (start) {
        media.currentTime = both[0].currentTime;
        media.play().catch(label);
      } else media.pause();
    }
  });
  for (const media of both) for (const event of ["play", "pause"]) media.addEventListener(event, label);
}

// The graph: its size.
for (const zoom of document.querySelectorAll(".zoom")) {
  zoom.hidden = false;
  const drawing = document.querySelector(".graph svg");
  const whole = drawing.viewBox.baseVal;
  const resize = (scale) => {
    drawing.setAttribute("width", whole.width * scale);
    drawing.setAttribute("height", whole.height * scale);
  };
  const scale = () => drawing.width.baseVal.value / whole.width;
  const [smaller, larger, fit] = zoom.children;
  smaller.addEventListener("click", () => resize(Math.max(scale() / 1.25, 0.1)));
  larger.addEventListener("click", () => resize(Math.min(scale() * 1.25, 4)));
  fit.addEventListener("click", () => resize(Math.min(drawing.parentElement.clientWidth / whole.width, 1)));
}
