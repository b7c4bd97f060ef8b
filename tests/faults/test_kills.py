from tests.faults.kills import kill_at_random


def test_a_run_that_is_killed_at_random_moments_loses_nothing(tmp_path):
    """`python -m tests.faults` does the same more often."""
    tally = kill_at_random(tmp_path, kills=3, seed=1)
    assert tally.kills == 3
    assert tally.runs >= 1
