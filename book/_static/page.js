// What the theme would do with scripts inside its pages, which their security policy refuses.
addEventListener("DOMContentLoaded", () => {
  for (const [button, act] of [
    [".btn-download-pdf-button", () => print()],
    [".btn-fullscreen-button", () => window.toggleFullScreen()],
  ])
    document.querySelectorAll(button).forEach((each) => each.addEventListener("click", act));
});

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
