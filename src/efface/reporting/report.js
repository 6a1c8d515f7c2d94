(() => {
  "use strict";
  document.documentElement.classList.add("js");

  for (const look of document.querySelectorAll("[data-compare]")) {
    const range = look.querySelector("input[type=range]");
    const show = () => {
      look.style.setProperty("--cut", range.value + "%");
      range.setAttribute("aria-valuetext", range.value + " % before, " + (100 - range.value) + " % after");
    };
    const drag = (event) => {
      if (look.classList.contains("beside") || (event.type === "pointermove" && event.buttons === 0)) return;
      const edges = look.querySelector(".image").getBoundingClientRect();
      range.value = 100 * (event.clientX - edges.left) / edges.width;
      show();
    };
    for (const image of look.querySelectorAll(".image")) {
      image.addEventListener("pointerdown", drag);
      image.addEventListener("pointermove", drag);
    }
    const views = look.querySelectorAll("[data-view]");
    for (const view of views) {
      view.addEventListener("click", () => {
        look.classList.toggle("beside", view.dataset.view === "beside");
        for (const other of views) other.setAttribute("aria-pressed", String(other === view));
      });
    }
    range.addEventListener("input", show);
    show();
  }

  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  for (const link of document.querySelectorAll("a[href^='#']")) {
    link.addEventListener("click", () => setTimeout(reveal)); // also where the hash stays the same
  }
  reveal();

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
