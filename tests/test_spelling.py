import pytest

from snnjax.spelling import count


@pytest.mark.parametrize(
    ('number', 'noun', 'expected'),
    [
        (0, 'epoch', '0 epochs'),
        (1, 'epoch', '1 epoch'),
        (1200, 'time step', '1,200 time steps'),
        (2, 'batch', '2 batches'),
        (3, 'class', '3 classes'),
        (1, 'process', '1 process'),
    ],
)
def test_a_number_has_its_noun_in_the_right_form(number, noun, expected):
    assert count(number, noun) == expected
