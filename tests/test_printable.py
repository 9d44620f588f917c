"""Control characters in a file's name do not reach the terminal."""

from tune_sa2va.printable import printable, printable_lines


def test_control_characters_and_broken_unicode_become_escapes() -> None:
    assert printable("a\x1b[31m\r\n\tb\u202ec\ud800 é") == r"a\x1b[31m\r\n\tb\u202ec\ud800 é"


def test_lines_stay_lines() -> None:
    assert printable_lines("a\x1b\nb\rc\n") == "a\\x1b\nb\\rc\n"
