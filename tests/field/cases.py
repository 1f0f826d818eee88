"""What went wrong in the field once, by kind, and which tests hold that it does not any more.

`make field-cases` runs these, and everything in this folder.
"""

from collections.abc import Mapping

HERE = "tests/field/test_links.py"
REFUSALS = "tests/mqtt/test_connection_refusals.py"
JOINING = "tests/edge/test_joining.py"

CASES: Mapping[str, tuple[str, ...]] = {
    "a flapping link": (f"{REFUSALS}::test_connections_that_do_not_last_end_nothing",),
    "an upload that the broker's rights refuse": (
        f"{REFUSALS}::test_a_message_that_is_refused_is_not_taken",
        "tests/edge/test_last_answer.py::test_a_refused_one_is_sent_again_until_it_is_taken",
    ),
    "uploads that the broker's queue has lost": (
        f"{HERE}::test_answers_that_the_brokers_queue_has_lost_are_sent_again",
    ),
    "a broadcast larger than the broker's queue": (
        f"{HERE}::test_a_broadcast_that_the_brokers_queue_has_lost_is_waited_for_aloud",
    ),
    "a device that was away": (
        f"{HERE}::test_a_device_that_was_away_fetches_the_newest_broadcast_alone",
        f"{HERE}::test_of_openings_that_come_together_only_the_newest_is_fetched_for",
    ),
    "a slow uplink": (
        f"{HERE}::test_a_slow_line_is_no_dead_one",
        f"{HERE}::test_a_dead_line_is_no_slow_one",
    ),
    "a device that is offline": (
        "tests/cohorts/test_mqtt.py::test_a_round_closes_at_its_deadline_with_the_quorum",
        "tests/field/test_absence.py::test_a_listed_device_that_never_came_costs_no_deadline",
        "tests/field/test_absence.py::test_a_grace_is_given_without_a_word",
    ),
    "a broker that is busy at first": (f"{REFUSALS}::test_a_refusal_that_passes_is_tried_again",),
    "a password that is changed": (
        "tests/mqtt/test_connection.py"
        "::test_a_password_that_is_changed_in_its_file_needs_no_restart",
    ),
    "a contract larger than a packet": (
        "tests/field/test_tasks.py::test_a_contract_that_no_packet_holds_is_one_sentence",
    ),
    "an agent whose task nobody runs": (
        f"{HERE}::test_who_waits_for_a_task_that_nobody_runs_says_so",
    ),
    "a library's telemetry": (
        "tests/test_quiet.py::test_a_command_leaves_nothing",
        "tests/test_quiet.py::test_every_door_turns_all_of_it_off",
    ),
    "a machine without a battery": (
        "tests/protocol/test_device_health.py::test_a_machine_that_hides_its_sensors",
    ),
    "no test samples": (f"{JOINING}::test_a_device_with_part_of_the_classes_and_no_test_samples",),
    "a second aggregator": (
        "tests/cloud/test_alone.py::test_another_one_is_waited_for_and_then_refused",
        f"{JOINING}::test_a_new_run_keeps_the_model_of_the_run_before",
    ),
    "a device called aggregator": (
        "tests/protocol/test_task.py::test_a_device_is_not_called_as_the_server_is",
    ),
    "a device's disk is full": (
        "tests/edge/test_folder.py::test_an_agent_on_a_full_disk_ends_with_one_sentence",
        "tests/edge/test_folder.py::test_a_full_disk_is_one_sentence_and_leaves_no_half_file",
    ),
    "a device more": ("tests/cloud/test_ledger.py::test_devices_may_be_added",),
    "which device is missing": (
        "tests/cohorts/test_mqtt.py::test_a_round_that_waits_is_announced_again_and_again",
    ),
}
