from snnjax.analysis.tables import markdown_table, text_table

HEADER = ('network', 'T', 'accuracy (%)')
ROWS = [('ms | a', '4', '43.5 ± 0.9'), ('sew', '16', '45.2')]


def test_columns_of_markdown_are_aligned():
    assert markdown_table(HEADER, ROWS).splitlines() == [
        r'| network |   T | accuracy (%) |',
        r'| ------- | --: | -----------: |',
        r'| ms \| a |   4 |   43.5 ± 0.9 |',
        r'| sew     |  16 |         45.2 |',
    ]


def test_columns_of_text_have_spaces_between_them():
    assert text_table(HEADER, ROWS).splitlines() == [
        'network   T  accuracy (%)',
        'ms | a    4    43.5 ± 0.9',
        'sew      16          45.2',
    ]


def test_a_table_is_split_only_if_it_is_too_wide():
    for table in (markdown_table, text_table):
        whole = table(HEADER, ROWS)
        width = max(map(len, whole.splitlines()))
        assert table(HEADER, ROWS, width=width) == whole
        parts = table(HEADER, ROWS, width=width - 1).split('\n\n')
        assert len(parts) == 2
        assert all(len(line) < width for part in parts for line in part.splitlines())
        assert all('network' in part and 'sew' in part for part in parts)


def test_parts_of_a_table_begin_with_its_keys():
    parts = markdown_table(('a', 'b', 'c', 'd'), [('1', '2', '3', '4')], width=20, keys=2)
    assert [part.splitlines()[0] for part in parts.split('\n\n')] == [
        '| a   |   b |   c |',
        '| a   |   b |   d |',
    ]


def test_a_table_without_rows_has_its_header():
    assert text_table(HEADER, []) == 'network  T  accuracy (%)'
