#!/usr/bin/env python3
"""Serve the test site: static pages, redirects, /slow/<seconds>, and /until/<name>, which ends when /end/<name> is got.

Standard library only.

python3 serve.py --port 80
"""

from __future__ import annotations

import argparse
import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PUBLIC = Path(__file__).resolve().parent / "public"
REDIRECTS = {"/redirect": "/moved.html"}
MAX_SLOW_SECONDS = 120
PULSE = 1.0  # seconds between two bytes of a page that isn't complete yet
ENDED: set[str] = set()  # the names of /until/<name> that are complete
CHANGED = threading.Condition()  # of ENDED


class Handler(SimpleHTTPRequestHandler):
    """Files of the served directory, plus the special paths."""

    def do_GET(self) -> None:
        """Answer a redirect or a slow page, else a file."""
        path = self.path.partition("?")[0]
        if path in REDIRECTS:
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", REDIRECTS[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path.startswith("/slow/"):
            self._slow(path.removeprefix("/slow/"))
        elif path.startswith("/until/"):
            self._page_after(partial(_ended, path.removeprefix("/until/")), "This page took until its end.")
        elif path.startswith("/end/"):
            with CHANGED:
                ENDED.add(path.removeprefix("/end/"))
                CHANGED.notify_all()
            self._page_after(lambda _: True, "That page is complete.")
        else:
            super().do_GET()

    def _slow(self, text: str) -> None:
        """Answer an HTML page that is complete after ``text`` seconds."""
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= MAX_SLOW_SECONDS:
            self.send_error(HTTPStatus.BAD_REQUEST, f"give 0 to {MAX_SLOW_SECONDS} seconds")
            return
        end = time.monotonic() + seconds

        def over(wait: float) -> bool:
            time.sleep(max(0.0, min(wait, end - time.monotonic())))  # a slow page is what it is for
            return time.monotonic() >= end

        self._page_after(over, f"This page took {seconds:g} seconds.")

    def _page_after(self, over: Callable[[float], bool], text: str) -> None:
        """Answer an HTML page once ``over``, which waits for some seconds, says so; white space flows meanwhile."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        try:
            while not over(PULSE):
                self.wfile.write(b"\n")
            self.wfile.write(f"<!doctype html><title>Slow</title><p>{text}</p>\n".encode())
        except ConnectionError:
            self.log_message("client left %s early", self.path)


def _ended(name: str, wait: float) -> bool:
    """Whether /end/<name> was got, for which this waits some seconds."""
    with CHANGED:
        return CHANGED.wait_for(lambda: name in ENDED, wait)


def make_server(host: str, port: int, directory: Path = PUBLIC) -> ThreadingHTTPServer:
    """A server bound to ``host`` and ``port`` (0 picks one: see ``server_port``); call ``serve_forever``."""
    return ThreadingHTTPServer((host, port), partial(Handler, directory=str(directory)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Serve the chatlite test site.")
    parser.add_argument("--bind", default="0.0.0.0", help="address to listen on (default: all IPv4)")  # noqa: S104 - other hosts are to crawl it
    parser.add_argument("--port", type=int, default=8000, help="TCP port (default 8000)")
    options = parser.parse_args()
    with make_server(options.bind, options.port) as server:
        print(f"Serving {PUBLIC} on {options.bind}:{server.server_port}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
