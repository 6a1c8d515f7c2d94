(() => {
  "use strict";
  document.documentElement.classList.add("js");
  for (const look of document.querySelectorAll(".compare")) {
    const range = look.querySelector("input[type=range]");
    const show = () => {
      look.style.setProperty("--cut", range.value + "%");
      range.setAttribute("aria-valuetext", range.value + " % before, " + (100 - range.value) + " % after");
    };
    const drag = (event) => {
      if (look.querySelector("input:checked") || (event.type === "pointermove" && event.buttons === 0)) return;
      const edges = look.querySelector(".image").getBoundingClientRect();
      range.value = 100 * (event.clientX - edges.left) / edges.width;
      show();
    };
    for (const image of look.querySelectorAll(".image")) {
      image.addEventListener("pointerdown", drag);
      image.addEventListener("pointermove", drag);
    }
    range.addEventListener("input", show);
    show();
  }
})();
