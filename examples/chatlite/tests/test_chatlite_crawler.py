"""The crawler, against the served test site and against answers made up by a mock transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from testsite import expected, serve

from app import crawler
from app.crawler import (
    Crawler,
    CrawlResult,
    RobotsUnavailableError,
    http_client,
    normalise,
    parse_page,
    same_site,
    validate,
)
from app.text import visible_text, word_counts

SEED = "http://site.example/"


def crawl_site(base: str, depth: int, max_pages: int = 500) -> CrawlResult:
    result = CrawlResult()
    with http_client("chatlite/1.0") as client:
        Crawler(client, "chatlite/1.0", sleep=lambda _: None).crawl(f"{base}/", depth, max_pages, result)
    return result


def crawl_answers(
    answers: dict[str, httpx.Response | Exception], depth: int = 1, **options: Callable[..., Any]
) -> tuple[CrawlResult, list[str]]:
    """Crawl SEED where ``answers`` maps paths to answers, else 404; return the result and the URLs asked for."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        found = answers.get(request.url.path, httpx.Response(404))
        if isinstance(found, Exception):
            raise found
        return found

    result = CrawlResult()
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        Crawler(client, "chatlite", **options).crawl(SEED, depth, 500, result)
    return result, asked


def html(text: str) -> httpx.Response:
    return httpx.Response(200, html=text)


def reasons(result: CrawlResult) -> dict[str, str]:
    return {skip.url: skip.reason for skip in result.skipped}


@pytest.mark.parametrize("depth", range(4))
def test_finds_exactly_the_pages_and_words_of_the_site(site: str, depth: int) -> None:
    found = {page.url: word_counts(visible_text(page.html)).total() for page in crawl_site(site, depth).pages}
    assert found == {site + path: words for path, words in expected.expected_pages(depth).items()}


def test_site_has_pages_at_every_depth() -> None:
    sizes = [len(expected.expected_pages(depth)) for depth in range(4)]
    assert sizes == sorted(set(sizes)), "a deeper crawl must find more"
    assert expected.REDIRECTS == serve.REDIRECTS


def test_is_breadth_first_and_counts_pages(site: str) -> None:
    depths = [page.depth for page in crawl_site(site, 3).pages]
    assert depths == sorted(depths)
    assert len(crawl_site(site, 3, max_pages=4).pages) == 4


def test_says_why_a_link_was_not_taken(site: str) -> None:
    skipped = {skip.url.removeprefix(site): (skip.status, skip.reason) for skip in crawl_site(site, 1).skipped}
    assert skipped == {
        "/files/data.json": (200, "content type is application/json"),
        "/missing.html": (404, "answered 404"),
        "/private/secret.html": (None, "robots.txt disallows it"),
    }


def test_pages_carry_status_title_and_links(site: str) -> None:
    page = crawl_site(site, 0).summary()["pages"][0]
    assert (page["url"], page["status"], page["title"], page["depth"]) == (f"{site}/", 200, "Chatlite test site", 0)
    assert {"https://www.example.org/", f"{site}/articles/"} <= set(page["links"])
    assert not any(link.startswith("mailto:") or "#" in link for link in page["links"])
    assert "html" not in page


def test_slow_page_is_served(site: str) -> None:
    answer = httpx.get(f"{site}/slow/0.05")
    assert "This page took 0.05 seconds." in answer.text
    assert httpx.get(f"{site}/slow/121").status_code == 400


def test_a_page_lasts_until_it_is_told_to_end(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "PULSE", 0.01)
    with httpx.stream("GET", f"{site}/until/noon") as answer:
        flows = answer.iter_text()
        assert [next(flows).strip() for _ in range(3)] == ["", "", ""]
        httpx.get(f"{site}/end/evening")
        assert next(flows).strip() == ""
        httpx.get(f"{site}/end/noon")
        assert "This page took until its end." in "".join(flows)


def test_never_leaves_the_site() -> None:
    result, asked = crawl_answers(
        {
            "/": html('<a href="http://other.example/">x</a><a href="/away">y</a>'),
            "/away": httpx.Response(302, headers={"location": "http://other.example/away"}),
        }
    )
    assert asked == [f"{SEED}robots.txt", SEED, f"{SEED}away"]
    assert reasons(result) == {f"{SEED}away": "redirects off the site"}


def test_redirect_loop_ends() -> None:
    result, _ = crawl_answers({"/": httpx.Response(301, headers={"location": "/"})})
    assert reasons(result) == {SEED: "too many redirects"}


def test_robots_is_asked_again_after_a_redirect() -> None:
    result, asked = crawl_answers(
        {
            "/robots.txt": httpx.Response(200, text="User-agent: chatlite\nDisallow: /no"),
            "/": httpx.Response(302, headers={"location": "/no"}),
        }
    )
    assert reasons(result) == {SEED: "robots.txt disallows it"}
    assert f"{SEED}no" not in asked


@pytest.mark.parametrize(("delay", "slept"), [("0.2", 0.2), ("600", crawler.MAX_CRAWL_DELAY)])
def test_crawl_delay_is_kept_within_reason(delay: str, slept: float) -> None:
    sleeps: list[float] = []
    robots = httpx.Response(200, text=f"User-agent: *\nCrawl-delay: {delay}")
    crawl_answers({"/robots.txt": robots, "/": html('<a href="/a">a</a>')}, sleep=sleeps.append)
    assert sleeps == [slept, slept]


def test_robots_server_error_stops_the_crawl() -> None:
    with pytest.raises(RobotsUnavailableError, match="answered 503"):
        crawl_answers({"/robots.txt": httpx.Response(503)})


def test_unreachable_seed_raises_but_an_unreachable_link_is_skipped() -> None:
    with pytest.raises(httpx.ConnectError):
        crawl_answers({"/": httpx.ConnectError("refused")})
    result, _ = crawl_answers({"/": html('<a href="/a">a</a>'), "/a": httpx.ReadTimeout("slow")})
    assert reasons(result) == {f"{SEED}a": "ReadTimeout"}


def test_large_page_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawler, "MAX_PAGE_BYTES", 10)
    result, _ = crawl_answers({"/": html("more than ten bytes")})
    assert reasons(result) == {SEED: "is larger than 10 bytes"}


def test_large_site_is_truncated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawler, "MAX_TOTAL_BYTES", 30)
    result, _ = crawl_answers({"/": html('<a href="/a">a</a>'), "/a": html("x" * 20)})
    assert [page.url for page in result.pages] == [SEED]
    assert result.truncated


def test_dripping_answer_is_given_up() -> None:
    ticks = iter([0.0, 0.0, crawler.ANSWER_SECONDS + 1])
    with pytest.raises(httpx.ReadTimeout, match="took over 150 s"):
        crawl_answers({"/": html("x")}, clock=lambda: next(ticks))


def test_charset_is_the_page_s_own() -> None:
    latin = httpx.Response(
        200, headers={"content-type": "text/html"}, content="<meta charset=latin-1>é".encode("latin-1")
    )
    assert crawl_answers({"/": latin})[0].pages[0].html.endswith("é")


@pytest.mark.parametrize(
    ("url", "depth", "max_pages", "message"),
    [
        ("ftp://site.example/", 1, 1, "url is"),
        ("/relative", 1, 1, "url is"),
        ("http://", 1, 1, "url is"),
        ("http://user:secret@site.example/", 1, 1, "user name or password"),
        ("http://site.example:port/", 1, 1, "[Pp]ort"),
        (SEED, -1, 1, "depth is -1"),
        (SEED, 6, 1, "depth is 6"),
        (SEED, True, 1, "depth is True"),
        (SEED, 1, 0, "max_pages is 0"),
        (SEED, 1, 501, "max_pages is 501"),
    ],
)
def test_bad_requests_are_refused(url: str, depth: int, max_pages: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validate(url, depth, max_pages)


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("HTTP://Site.Example:80/a#b", "http://site.example/a"),
        ("https://site.example:443", "https://site.example/"),
        ("http://[::1]:8080/?q=1", "http://[::1]:8080/?q=1"),
    ],
)
def test_normalise(url: str, same: str) -> None:
    assert normalise(url) == same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://a/", "http://a:80/x", True),
        ("http://a/", "https://a/", True),
        ("http://a:8080/", "https://a/", False),
        ("http://a/", "http://a:8080/", False),
        ("http://a/", "http://b/", False),
    ],
)
def test_same_site(one: str, other: str, same: bool) -> None:
    assert same_site(one, other) is same


def test_parse_page_resolves_against_base_and_survives_bad_links() -> None:
    title, links = parse_page(
        '<title> A\n b </title><base href="/d/"><a href="x">1</a><a href="http://[bad">2</a>', SEED
    )
    assert (title, links) == ("A b", ["http://site.example/d/x"])
