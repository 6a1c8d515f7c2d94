(() => {
  "use strict";
  document.documentElement.classList.add("js");

  for (const box of document.querySelectorAll("[data-compare]")) {
    const range = box.querySelector("input[type=range]");
    const show = () => {
      box.style.setProperty("--cut", range.value + "%");
      range.setAttribute("aria-valuetext", range.value + " % before, " + (100 - range.value) + " % after");
    };
    const drag = (event) => {
      if (event.type === "pointermove" && event.buttons === 0) return;
      const edges = box.querySelector(".picture").getBoundingClientRect();
      range.value = 100 * (event.clientX - edges.left) / edges.width;
      show();
    };
    for (const picture of box.querySelectorAll(".picture")) {
      picture.addEventListener("pointerdown", drag);
      picture.addEventListener("pointermove", drag);
    }
    range.addEventListener("input", show);
    show();
  }

  const folds = document.querySelectorAll("details");
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...folds].filter((fold) => !fold.open);
    for (const fold of closed) fold.open = true;
  });
  addEventListener("afterprint", () => {
    for (const fold of closed) fold.open = false;
  });
})();
