"""What the pages of the built book weigh, and when their first figure shows: from a folder, and from a local server.

Bytes and milliseconds of a Chromium that has nothing cached, in a window of 1400 × 900 pixels; a server would compress.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import statistics
import threading
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

HTML = Path(__file__).resolve().parent.parent / "_build" / "html"
# On the document: what loads within a page does not tell the window.
LISTEN = """
document.addEventListener("load", (event) => {
  if (event.target.matches?.("figure img, .front img") && !window.firstFigure) window.firstFigure = performance.now();
}, true);
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


def visit(browser: Browser, url: str) -> tuple[float, int, float | None]:
    """Kilobytes, requests, and milliseconds to the first figure."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.add_init_script(LISTEN)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if not request.url.startswith("data:") else None)
    page.goto(url, wait_until="networkidle")
    shown = page.evaluate("window.firstFigure ?? null")
    page.close()
    root = url[: url.rindex("/book/")]
    files = {HTML / each.removeprefix(f"{root}/").partition("?")[0].partition("#")[0] for each in asked}
    return sum(file.stat().st_size for file in files) / 1000, len(files), shown


def main() -> None:
    if not (HTML / "index.html").exists():
        raise SystemExit("there is no built book: make book")
    server = http.server.ThreadingHTTPServer(("localhost", 0), functools.partial(_Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    roots = {"folder": HTML.as_uri(), "server": f"http://localhost:{server.server_port}"}
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    print(f"{'page':<24}{'requests':>9}{'kB':>8}{'ms, folder':>12}{'ms, server':>12}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for path in sorted((HTML / "book").glob("*.html")):
            visits = {
                way: [visit(browser, f"{root}/book/{path.name}") for _ in range(5)] for way, root in roots.items()
            }
            size, requests, _ = visits["server"][0]
            line = f"{path.stem:<24}{requests:>9}{size:>8,.0f}"
            for each in visits.values():
                times = [shown for _, _, shown in each if shown is not None]
                line += f"{statistics.median(times):>12.0f}" if times else f"{'–':>12}"
            print(line, flush=True)
        browser.close()


if __name__ == "__main__":
    main()
