"""What a run says of itself: plain lines in a log, bars on a terminal."""

import io

import pytest
from rich.console import Console

from detox_ray.cluster import interrupt
from detox_ray.cluster.progress import LOG_LINES, Progress


def log() -> tuple[Progress, io.StringIO]:
    stream = io.StringIO()
    return Progress(Console(file=stream, highlight=False, soft_wrap=True, width=40)), stream


def test_a_log_gets_about_ten_lines_however_many_units() -> None:
    for total in (10, 1000, 1003):
        progress, stream = log()
        with progress.task("generate", total, "prompts") as task:
            for _ in range(total):
                task.advance()
        lines = stream.getvalue().splitlines()
        assert LOG_LINES <= len(lines) <= LOG_LINES + 1
        assert lines[-1].startswith(f"generate: {total}/{total} prompts")


def test_a_line_says_units_rate_time_left_and_note_unbroken() -> None:
    progress, stream = log()
    with progress.task("train detox", 2, "steps") as task:
        task.advance(note="loss 0.6931, a note that is longer than the console is wide")
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("train detox: 1/2 steps, ")
    assert " steps/s, " in line
    assert line.endswith(" left, loss 0.6931, a note that is longer than the console is wide")


def test_large_steps_are_counted_once_and_never_missed() -> None:
    progress, stream = log()
    with progress.task("score", 100) as task:
        task.advance(55)
        task.advance(3)  # no tenth was passed
        task.advance(42)
    assert [line.split(" ")[1] for line in stream.getvalue().splitlines()] == ["55/100", "100/100"]


def test_units_that_were_done_before_do_not_count_in_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that resumes from step 40."""
    progress, stream = log()
    now = iter([100.0, 102.0, 110.0])
    monkeypatch.setattr("detox_ray.cluster.progress.time.monotonic", lambda: next(now))
    with progress.task("train detox", 60, "steps", done=40) as task:
        task.advance(8)
        task.advance(12)
    assert stream.getvalue().splitlines() == [
        "train detox: 48/60 steps, 4.00 steps/s, 3s left",
        "train detox: 60/60 steps, 2.00 steps/s, 0s left",
    ]


def test_a_step_without_units_is_no_error() -> None:
    progress, stream = log()
    with progress.task("nothing", 0) as task:
        task.advance(0)
    assert stream.getvalue().startswith("nothing: 0/0 units")


def test_brackets_are_text_and_not_markup() -> None:
    progress, stream = log()
    progress.say("[bold] stays [/nonsense]")
    with progress.task("model [base]", 1) as task:
        task.advance(note="[/]")
    assert "[bold] stays [/nonsense]" in stream.getvalue()
    assert "model [base]: 1/1" in stream.getvalue()
    assert "[/]" in stream.getvalue()


def test_a_terminal_shows_a_bar_with_label_count_and_note() -> None:
    stream = io.StringIO()
    progress = Progress(Console(file=stream, force_terminal=True, width=160))
    with progress.task("model [base]", 4) as task:
        task.advance(4, note="loss [0.5]")
    shown = stream.getvalue()
    assert "4/4" in shown
    assert "model [base]" in shown
    assert "loss [0.5]" in shown


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_stop_that_a_destructor_swallowed_ends_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "_asked", False)

    class Iterator:
        def __del__(self) -> None:
            interrupt.handler(2, None)

    progress = Progress(Console(file=io.StringIO()))
    with pytest.raises(KeyboardInterrupt), progress.task("score", 2) as task:
        task.advance()
        Iterator()  # Ctrl-C comes while it is being deleted: Python drops the exception
        task.advance()
    with pytest.raises(KeyboardInterrupt):
        progress.say("measuring")
