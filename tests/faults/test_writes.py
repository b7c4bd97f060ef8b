"""A small part of what ``python -m tests.faults --writes`` does."""

from tests.faults.writes import fail_each


def test_an_operation_on_a_file_that_fails_loses_nothing(tmp_path):
    tally = fail_each(tmp_path, points=[30])
    assert tally.operations > 30
    assert all(sum(statuses.values()) == 1 for statuses in tally.statuses.values())
