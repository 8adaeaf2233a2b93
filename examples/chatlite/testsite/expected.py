#!/usr/bin/env python3
"""What a crawl of the test site must find, computed from the files. Standard library only, nothing of the application.

python3 expected.py --depth 2 --base http://site.example
"""

from __future__ import annotations

import argparse
import json
import posixpath
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from urllib.robotparser import RobotFileParser

PUBLIC = Path(__file__).resolve().parent / "public"
#: Paths the server answers with a redirect (serve.py has the same; a test compares them).
REDIRECTS = {"/redirect": "/moved.html"}

_INVISIBLE = {"head", "script", "style", "template", "noscript", "svg"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class _Reader(HTMLParser):
    """Collects links and visible text of one well-formed page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.text: list[str] = []
        self._open: list[bool] = []  # for each open element: is it invisible?

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self._open.append(tag in _INVISIBLE or any(name == "hidden" for name, _ in attrs))
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not any(self._open):
            self.text.append(data)


def _file(path: str) -> Path | None:
    """The HTML file behind a URL path, or None."""
    file = PUBLIC / path.lstrip("/")
    file = file / "index.html" if path.endswith("/") else file
    return file if file.is_file() and file.suffix == ".html" else None


def _resolve(path: str) -> str:
    """Where the server sends a path: a redirect's target, a directory with its slash, else the path itself."""
    path = REDIRECTS.get(path, path)
    return f"{path}/" if not path.endswith("/") and (PUBLIC / path.lstrip("/")).is_dir() else path


def expected_pages(depth: int, agent: str = "chatlite") -> dict[str, int]:
    """``{path: number of visible words}`` of the pages within ``depth`` links of "/" that robots.txt permits."""
    robots = RobotFileParser()
    robots.parse((PUBLIC / "robots.txt").read_text().splitlines())
    words: dict[str, int] = {}
    level = ["/"]
    for _ in range(depth + 1):
        following: list[str] = []
        for path in level:
            final = _resolve(path)
            file = _file(final)
            if file is None or final in words or not (robots.can_fetch(agent, path) and robots.can_fetch(agent, final)):
                continue
            reader = _Reader()
            reader.feed(file.read_text(encoding="utf-8"))
            words[final] = len(re.findall(r"\w+", " ".join(reader.text)))
            for link in reader.links:
                target = urlsplit(urljoin(f"http://site{final}", link))
                if target.scheme == "http" and target.netloc == "site":
                    following.append(posixpath.join("/", target.path))
        level = following
    return words


def main() -> None:
    """Print ``{"pages": n, "words": n, "urls": [...], "words_by_url": {...}}`` as JSON."""
    parser = argparse.ArgumentParser(description="Print what a crawl of the test site must find.")
    parser.add_argument("--depth", type=int, default=2, help="links from the first page (default 2)")
    parser.add_argument("--base", default="", help="put before each path, e.g. http://site.example")
    options = parser.parse_args()
    pages = {options.base.rstrip("/") + path: words for path, words in expected_pages(options.depth).items()}
    report = {"pages": len(pages), "words": sum(pages.values()), "urls": sorted(pages), "words_by_url": pages}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
