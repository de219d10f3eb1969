"""What other programs call our settings leads to settings that exist."""

from hornbook.config.keys import all_tables, dotted
from hornbook.config.other_names import OTHER_NAMES, OURS


def test_every_answer_is_a_setting():
    assert set(OTHER_NAMES) <= {dotted((*key, name)) for key, table in all_tables() for name in table.model_fields}


def test_no_name_has_two_answers():
    assert len(OURS) == sum(len(names) for names in OTHER_NAMES.values())


def test_no_name_is_a_setting_of_the_same_table():
    fields = {dotted((*key, name)) for key, table in all_tables() for name in table.model_fields}
    assert {f"{key.partition('.')[0]}.{name}" for name, key in OURS.items()} & fields == set()
