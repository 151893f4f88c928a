// What the theme would do with scripts inside its pages, which their security policy refuses.
{
  const page = document.documentElement.dataset;
  page.mode = localStorage.getItem("mode") || page.theme;
  page.theme = localStorage.getItem("theme") || page.theme;
}
addEventListener("DOMContentLoaded", () => {
  for (const [button, act] of [
    [".btn-download-pdf-button", () => print()],
    [".btn-fullscreen-button", () => window.toggleFullScreen()],
  ])
    document.querySelectorAll(button).forEach((each) => each.addEventListener("click", act));
});

// The line below a figure leads to the code that drew it, which is folded.
addEventListener("click", (event) => {
  const link = event.target.closest("a.code");
  const cell = link && document.getElementById(link.hash.slice(1)).closest("p").nextElementSibling;
  cell?.querySelector("details.hide")?.setAttribute("open", "");
});

// From a folder a browser may not read the pages that a search has found, to quote from them.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// On paper it is day.
{
  const page = document.documentElement.dataset;
  let theme;
  addEventListener("beforeprint", () => {
    theme = page.theme;
    page.theme = "light";
  });
  addEventListener("afterprint", () => {
    page.theme = theme;
  });
}
