#!/usr/bin/env python3
"""Serve the test site: static pages, redirects, and /slow/<seconds>. Standard library only.

python3 serve.py --port 80
"""

from __future__ import annotations

import argparse
import contextlib
import time
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PUBLIC = Path(__file__).resolve().parent / "public"
REDIRECTS = {"/redirect": "/moved.html"}
MAX_SLOW_SECONDS = 120


class Handler(SimpleHTTPRequestHandler):
    """Files of the served directory, plus the two special paths."""

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
        else:
            super().do_GET()

    def _slow(self, text: str) -> None:
        """Answer an HTML page that is complete after ``text`` seconds; white space flows meanwhile, once a second."""
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= MAX_SLOW_SECONDS:
            self.send_error(HTTPStatus.BAD_REQUEST, f"give 0 to {MAX_SLOW_SECONDS} seconds")
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        end = time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0:
                self.wfile.write(b"\n")
                time.sleep(min(1.0, left))  # a slow page is what it is for
            self.wfile.write(f"<!doctype html><title>Slow</title><p>This page took {seconds:g} seconds.</p>\n".encode())
        except ConnectionError:
            self.log_message("client left /slow/%s early", text)


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
