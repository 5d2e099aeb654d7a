"""Live sound through the whole server: turns that it finds, turns that the client commits."""

from __future__ import annotations

import asyncio
import base64

import pytest

from tests.server.realtime.talk import LOUD, QUIET, RATE_HZ, deltas, kinds, openai, talk

TEXT = "first words then more"
DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"


def test_the_openai_client_hears_what_is_said_as_it_becomes_certain(start) -> None:
    port = start().port

    async def run() -> None:
        async with (
            asyncio.timeout(20),
            openai(port) as client,
            client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
        ):
            assert (await connection.recv()).type == "session.created"
            session = {
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": RATE_HZ},
                        "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
                        "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
                    }
                },
            }
            await connection.session.update(session=session)
            updated = await connection.recv()
            assert updated.type == "session.updated", updated
            turns = updated.session.audio.input.turn_detection
            assert (turns.type, turns.silence_duration_ms, turns.threshold) == (
                "server_vad", 300, 0.5
            )  # fmt: skip
            for piece in (QUIET, LOUD, LOUD, LOUD, QUIET):
                await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
            events = []
            async for event in connection:
                events.append(event)
                if event.type == COMPLETED:
                    break
        assert [event.type for event in events] == [
            "input_audio_buffer.speech_started", DELTA, DELTA,
            "input_audio_buffer.speech_stopped", "input_audio_buffer.committed",
            "conversation.item.added", "conversation.item.done", DELTA, COMPLETED,
        ]  # fmt: skip
        assert events[0].audio_start_ms == 100 and events[3].audio_end_ms == 500
        assert len({getattr(event, "item_id", None) or event.item.id for event in events}) == 1
        told = [event.delta for event in events if event.type == DELTA]
        assert told == ["first", " words", " then more"]
        assert events[-1].transcript == TEXT
        assert events[-1].usage.type == "duration" and events[-1].usage.seconds == 0.4

    asyncio.run(run())


def test_every_event_of_a_turn_is_of_its_type_and_the_next_follows_it(start) -> None:
    async def two(client) -> None:
        await client.say(LOUD, LOUD, QUIET, LOUD, QUIET)
        first = await client.until(COMPLETED)
        second = await client.until(COMPLETED)
        assert deltas(first) == deltas(second) == TEXT
        ids = [events[-1]["item_id"] for events in (first, second)]
        assert ids[0] != ids[1]
        added = [e for e in first + second if e["type"] == "conversation.item.added"]
        assert [event["previous_item_id"] for event in added] == [None, ids[0]]

    talk(start().port, two)


def test_a_text_that_changes_takes_nothing_back(start, engine) -> None:
    """What is told stays told; the last event has the text as it is."""

    async def one(client) -> None:
        await client.say(LOUD, LOUD, LOUD)
        await client.until(DELTA)
        engine.live_text = "other words"
        await client.say(QUIET)
        events = await client.until(COMPLETED)
        assert events[-1]["transcript"] == "other words"
        assert deltas(client.seen) in ("first", "first words")

    talk(start().port, one)


def test_who_falls_silent_without_sending_silence_has_ended_the_turn(start) -> None:
    async def one(client) -> None:
        await client.say(LOUD, LOUD)
        assert (await client.until(COMPLETED))[-1]["transcript"] == TEXT

    # The deadline for headers is none for what follows the upgrade.
    talk(start(header_s=0.3).port, one)


def test_a_commit_ends_the_turn_that_is_open(start) -> None:
    async def one(client) -> None:
        await client.say(LOUD)
        await client.send("input_audio_buffer.commit")
        await client.until(COMPLETED)
        await client.send("input_audio_buffer.commit")
        (error,) = await client.until("error")
        assert error["error"]["code"] == "input_audio_buffer_commit_empty"

    talk(start().port, one)


def test_a_clear_forgets_the_turn_that_is_open(start, engine) -> None:
    async def one(client) -> None:
        await client.say(LOUD, LOUD)
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        await client.say(LOUD, QUIET)
        events = await client.until(COMPLETED)
        started = [e for e in client.seen if e["type"].endswith("speech_started")]
        assert len(started) == 2 and events[-1]["item_id"] == started[1]["item_id"]

    talk(start().port, one)
    assert engine.abandoned == 1


def test_who_commits_is_heard_in_whole_utterances(start, engine) -> None:
    async def three(client) -> list[str]:
        await client.update(turn_detection=None)
        assert (await client.next())["session"]["audio"]["input"]["turn_detection"] is None
        texts = []
        for count in (2, 3):
            await client.say(*[LOUD] * count)
            await client.send("input_audio_buffer.commit")
            events = await client.until(COMPLETED)
            assert kinds(events) == [
                "input_audio_buffer.committed", "conversation.item.added",
                "conversation.item.done", DELTA, DELTA, COMPLETED,
            ]  # fmt: skip
            assert deltas(events) == events[-1]["transcript"]
            texts.append(events[-1]["transcript"])
        await client.say(LOUD)
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        await client.send("input_audio_buffer.commit")
        assert (await client.next())["error"]["code"] == "input_audio_buffer_commit_empty"
        return texts

    assert talk(start().port, three) == [TEXT, TEXT]
    assert [len(data) - 44 for data in engine.heard] == [2 * len(LOUD), 3 * len(LOUD)]
    assert not engine.fed


def test_an_utterance_that_cannot_be_heard_fails_alone(start, engine, monkeypatch) -> None:
    from edge_audiokv.errors import InputError

    whole = engine.hear

    def hear(file, check):
        if not engine.heard:
            engine.heard.append(file.read())
            engine.files.append(file)
            raise InputError("the audio cannot be read.")
        yield from whole(file, check)

    monkeypatch.setattr(engine, "hear", hear)

    async def two(client) -> None:
        await client.update(turn_detection=None)
        await client.next()
        for end in ("conversation.item.input_audio_transcription.failed", COMPLETED):
            await client.say(LOUD)
            await client.send("input_audio_buffer.commit")
            events = await client.until(end)
            assert events[-1]["item_id"] == events[0]["item_id"]

    talk(start().port, two)


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
def test_telephone_sound_comes_at_its_own_rate(start, engine, kind) -> None:
    async def one(client) -> None:
        await client.update(format={"type": kind})
        assert (await client.next())["session"]["audio"]["input"]["format"] == {"type": kind}
        await client.say(b"\x12" * 800)
        await client.send("input_audio_buffer.commit")
        await client.until(COMPLETED)

    talk(start().port, one)
    assert engine.fed == [(1600, 8000)]


def test_how_speech_is_cut_may_change_on_the_way(start, engine) -> None:
    async def one(client) -> None:
        await client.say(LOUD)
        await client.update(
            turn_detection={
                "type": "server_vad", "threshold": 0.4, "prefix_padding_ms": 600,
                "silence_duration_ms": 350,
            }
        )  # fmt: skip
        # What was open ends.
        await client.until(COMPLETED)
        # What stays the same changes nothing.
        await client.update(transcription={"model": "whisper-1", "language": "en"})
        await client.until("session.updated")

    talk(start().port, one)
    first, second = engine.followed
    assert first == engine.endpoint
    assert (second.threshold, second.prefix_padding_ms, second.silence_duration_ms) == (
        0.4, 600, 350
    )  # fmt: skip
    assert second.max_segment_s == engine.endpoint.max_segment_s


def test_sound_that_waits_for_its_commit_is_not_lost_by_an_update(start, engine) -> None:
    async def one(client) -> None:
        await client.update(turn_detection=None)
        await client.next()
        await client.say(LOUD)
        await client.update(turn_detection={"type": "server_vad"})
        assert (await client.next())["error"]["code"] == "uncommitted"
        await client.send("input_audio_buffer.commit")
        await client.until(COMPLETED)

    talk(start().port, one)
    assert len(engine.heard) == 1


def test_who_is_behind_drafts_nothing(start, engine) -> None:
    """More sound waits than drafts have time for; finals come all the same."""
    engine.go.clear()

    async def one(client) -> None:
        await client.say(*[LOUD] * 40, QUIET)
        await asyncio.sleep(0.2)
        engine.go.set()
        events = await client.until(COMPLETED)
        assert deltas(events) == TEXT
        # At most the last two seconds of it have drafts, and four words are told once.
        assert kinds(events).count(DELTA) <= 4

    talk(start().port, one)
    assert len(engine.fed) == 41
