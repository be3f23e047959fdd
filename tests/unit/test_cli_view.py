"""What the command line shows: table, text, screens, plain lines."""

from __future__ import annotations

import io

import pytest

from rbkit_websocket.cli.hot_functions import Row, Table, hottest
from rbkit_websocket.cli.terminal import Output
from rbkit_websocket.cli.text import clean, fit, short_path, width
from rbkit_websocket.cli.view import HeapFigures, View, draw, plain_lines
from rbkit_websocket.model import Frame, Profile, Stack

MAIN = Frame("main", "main", "/srv/app.py", 1, 2)
WORK = Frame("work", "Job.work", "/srv/app.py", 10, 15)
WORK_ELSEWHERE = Frame("work", "Job.work", "/srv/app.py", 10, 17)
HUB = Frame("run", "Hub.run", "/x/lib/python3.11/site-packages/gevent/hub.py", 600, 640)


def profile(*stacks: tuple[int, tuple[Frame, ...]], lost: int = 0) -> Profile:
    return Profile(
        cursor=1,
        running=True,
        clock="wall",
        interval_us=1000,
        samples=len(stacks),
        weight_us=sum(weight for weight, _ in stacks),
        lost_us=lost,
        stacks=tuple(Stack(weight, 1, 1, None, frames) for weight, frames in stacks),
        threads={1: "MainThread"},
    )


def view(**changes: object) -> View:
    facts: dict[str, object] = {
        "title": "demo",
        "url": "ws://127.0.0.1:1/?token=t",
        "seconds": 3,
        "requests": 19.96,
        "clock": "wall",
        "interval_us": 1000,
        "table": Table((Row("Job.work", "/srv/app/job.py", 10, 300, 400),), 400, 600, 50, 10, 0),
        "window": 3,
        "heap": HeapFigures(12, 3, 4.56, 2.0, 50 * 2**20, 123456),
        "connection": "open",
        "lost": 0,
        **changes,
    }
    return View(**facts)  # type: ignore[arg-type]


def test_self_and_total_time_are_added_up_by_function():
    table = hottest(
        [
            profile((100, (WORK, MAIN)), (50, (WORK_ELSEWHERE, MAIN))),
            profile((30, (MAIN,)), (70, (HUB, MAIN)), lost=5),
        ]
    )
    assert table.rows == (Row("Job.work", "/srv/app.py", 10, 150, 150), Row("main", "/srv/app.py", 1, 30, 180))
    assert (table.busy_us, table.idle_us, table.samples, table.lost_us) == (180, 70, 4, 5)
    assert table.busy_share == 180 / 250
    assert table.share(90) == 0.5


def test_recursion_counts_once():
    assert hottest([profile((10, (WORK, WORK_ELSEWHERE, WORK, MAIN)))]).rows == (
        Row("Job.work", "/srv/app.py", 10, 10, 10),
    )


def test_only_the_event_loop_waiting_is_idle():
    other = Frame("run", "run", "/srv/hub.py", 1, 1)
    callback = (MAIN, HUB)
    table = hottest([profile((1, (other,)), (2, callback), (4, (HUB,)))])
    assert (table.busy_us, table.idle_us) == (3, 4)


def test_parked_threads_are_neither_busy_nor_idle():
    parked = [
        Frame("acquire_with_timeout", "acquire_with_timeout", "/x/site-packages/gevent/_threading.py", 1, 1),
        Frame("wait", "Condition.wait", "/usr/lib/python3.11/threading.py", 1, 1),
        Frame("select", "EpollSelector.select", "/usr/lib/python3.11/selectors.py", 1, 1),
    ]
    running = Frame("run", "Thread.run", "/usr/lib/python3.11/threading.py", 1, 1)
    table = hottest([profile(*((10, (frame,)) for frame in parked), (1, (running,)))])
    assert (table.busy_us, table.idle_us, table.parked_us) == (1, 0, 30)
    assert [row.label for row in table.rows] == ["Thread.run"]


def test_the_table_is_limited_and_in_a_stable_order():
    frames = [Frame(f"f{i}", f"f{i}", "/a.py", i, i) for i in range(9)]
    rows = hottest([profile(*((10, (frame,)) for frame in reversed(frames)))], limit=3).rows
    assert [row.label for row in rows] == ["f0", "f1", "f2"]


def test_nothing_sampled_is_no_division_by_zero():
    table = hottest([])
    assert (table.rows, table.busy_share, table.share(5)) == ((), 0.0, 0.0)
    assert draw(view(table=table), 80, 24)
    assert plain_lines(view(table=table))


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("Job.work", "Job.work"),
        ("\x1b[2J\x1b]0;owned\x07", "?[2J?]0;owned?"),
        ("a\nb\r\nc", "a b c"),
        ("\x9b31m", "?31m"),
        ("\u202egnp.exe", "?gnp.exe"),
        ("\udcff", "?"),
        ("\x00\x7f", "??"),
        ("größe €", "größe €"),
    ],
)
def test_nothing_that_a_terminal_obeys_gets_through(hostile, shown):
    assert clean(hostile) == shown


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [("ab", 4, "ab  "), ("abcd", 4, "abcd"), ("abcde", 4, "abc…"), ("", 0, ""), ("abc", 0, ""), ("日本語", 4, "日… ")],
)
def test_text_fits_its_columns(text, columns, expected):
    assert fit(text, columns) == expected
    assert width(expected) == columns


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("/v/lib/python3.11/site-packages/gevent/hub.py", "gevent/hub.py"),
        ("/usr/lib/python3.11/json/decoder.py", "json/decoder.py"),
        ("/srv/shop/cart/views.py", "cart/views.py"),
        ("<string>", "<string>"),
        ("app.py", "app.py"),
    ],
)
def test_paths_are_short(path, short):
    assert short_path(path) == short


def test_the_screen_fits_whatever_the_terminal_is():
    rows = tuple(Row(f"f{i}\x1b[1m" + "x" * 50, "/a/b/c.py", i, 10, 10) for i in range(50))
    wide = view(table=Table(rows, 500, 0, 0, 50, 0), connection="1006: \x1b]52;c;evil\x07")
    for columns, lines in ((80, 24), (20, 5), (1, 1), (200, 60)):
        screen = draw(wide, columns, lines)
        assert len(screen) <= lines
        assert all(width(line) <= columns and line.isprintable() for line in screen)


def test_the_screen_tells_the_figures():
    screen = "\n".join(draw(view(), 120, 24))
    for figure in (
        "requests/s 20.0",
        "busy 40.0%",
        "idle 60.0%",
        "75.0%  100.0%  Job.work",
        "app/job.py:10",
        "50.0 MiB",
    ):
        assert figure in screen


def test_plain_lines_are_pairs_of_key_and_value():
    status, hot = plain_lines(view())
    facts = dict(pair.split("=", 1) for pair in status.split())
    assert facts == {
        "second": "3",
        "requests_per_s": "20.0",
        "busy": "0.400",
        "samples": "10",
        "gc_collections": "12",
        "gc_seen": "3",
        "gc_pause_ms": "4.6",
        "gc_longest_ms": "2.0",
        "rss_bytes": str(50 * 2**20),
        "blocks": "123456",
        "lost": "0",
        "connection": "open",
    }
    assert hot == "hot self=0.750 total=1.000 where=app/job.py:10 function=Job.work"


def test_what_is_not_known_is_a_dash():
    assert "rss_bytes=- blocks=-" in plain_lines(view(heap=HeapFigures(), requests=None))[0]
    assert "requests_per_s=-" in plain_lines(view(heap=HeapFigures(), requests=None))[0]


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("term", ["dumb", "", None])
def test_a_dumb_terminal_gets_plain_lines(monkeypatch, term):
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    stream = Tty()
    with Output(stream) as output:
        output.show(view())
    assert stream.getvalue() == "\n".join(plain_lines(view())) + "\n"


def test_a_terminal_is_redrawn_in_place_and_given_back(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Tty()

    def fail() -> None:
        with Output(stream) as output:
            output.show(view())
            output.show(view())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    written = stream.getvalue()
    assert written.startswith("\x1b[?1049h\x1b[?25l\x1b[H")
    assert written.count("\x1b[H") == 2
    restored = written.rpartition("\x1b[?25h\x1b[?1049l")[2]
    assert "\x1b" not in restored
    assert "Job.work" in restored


def test_anything_else_gets_plain_lines_without_escapes():
    stream = io.StringIO()
    with Output(stream) as output:
        output.show(view())
    assert stream.getvalue() == "\n".join(plain_lines(view())) + "\n"


def test_a_label_beyond_the_encoding_does_not_stop_the_output():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    with Output(stream) as output:
        output.show(view(title="x", table=Table((Row("größe", "/a.py", 1, 1, 1),), 1, 0, 0, 1, 0)))
    assert b"gr??e" in raw.getvalue() or b"gr?" in raw.getvalue()
