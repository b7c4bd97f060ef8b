import os

from snnjax.tools import terminal

LINE = '  step 35  1.2 MiB  accuracy 0.9000  newest, best'


def test_lines_are_wrapped_at_words_in_a_terminal(monkeypatch):
    monkeypatch.setattr('sys.stdout.isatty', lambda: True)
    size = os.terminal_size((30, 24))
    monkeypatch.setattr('shutil.get_terminal_size', lambda **_: size)
    assert terminal.terminal_width() == 30
    text = f'title\n\n{LINE}\n  short  one'
    assert terminal.fit_terminal(text).splitlines() == [
        'title',
        '',
        '  step 35  1.2 MiB  accuracy',
        '      0.9000  newest, best',
        '  short  one',
    ]


def test_a_file_gets_whole_lines(monkeypatch):
    monkeypatch.setattr('sys.stdout.isatty', lambda: False)
    assert terminal.terminal_width() is None
    assert terminal.fit_terminal(LINE * 9) == LINE * 9
