"""Answers about what was heard, in OpenAI's events."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.realtime.talk import LOUD, QUIET, deltas, kinds, openai, talk

ANSWER = "a boat on the water"
DONE = "response.done"


def text_item(text: str, **more: object) -> dict[str, object]:
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content, **more}


def test_the_openai_client_is_answered_word_by_word(start, engine) -> None:
    port = start().port

    async def run() -> None:
        async with (
            asyncio.timeout(20),
            openai(port) as client,
            client.realtime.connect(model="gpt-realtime") as connection,
        ):
            await connection.conversation.item.create(item=text_item("What is it?"))
            await connection.response.create(response={"output_modalities": ["text"]})
            text = ""
            async for event in connection:
                if event.type == "response.output_text.delta":
                    text += event.delta
                if event.type == DONE:
                    break
        assert text == ANSWER
        assert event.response.status == "completed"
        (item,) = event.response.output
        assert item.content[0].text == ANSWER
        assert event.response.usage.output_tokens == 5

    asyncio.run(run())
    assert engine.asked == ["What is it?"]


def test_all_events_of_an_answer_in_their_order(start) -> None:
    async def one(client) -> None:
        await client.say(LOUD, QUIET)
        heard = await client.until("conversation.item.input_audio_transcription.completed")
        await client.send("response.create", response={"instructions": "What is it?"})
        events = await client.until(DONE)
        told = [kind for kind in kinds(events) if kind != "response.output_text.delta"]
        assert told == [
            "response.created", "response.output_item.added", "conversation.item.added",
            "response.content_part.added", "response.output_text.done",
            "response.content_part.done", "response.output_item.done",
            "conversation.item.done", DONE,
        ]  # fmt: skip
        assert kinds(events).count("response.output_text.delta") > 1
        assert deltas(events) == ANSWER
        before = [e["previous_item_id"] for e in events if "previous_item_id" in e]
        assert before == [heard[-1]["item_id"]] * 2

    talk(start().port, one)


@pytest.mark.parametrize(
    ("before", "response", "asked"),
    [
        (None, {"input": [text_item("From"), text_item("input?")]}, "From input?"),
        ("Before?", {}, "Before?"),
        ("Before?", {"input": [text_item("Rather this?")]}, "Rather this?"),
        (None, {"instructions": " Told so? "}, "Told so?"),
    ],
    ids=str,
)
def test_where_a_question_may_stand(start, engine, before, response, asked) -> None:
    async def one(client) -> None:
        if before is not None:
            await client.send("conversation.item.create", item=text_item(before, id="mine"))
            (added, done) = await client.until("conversation.item.done")
            assert added["item"] == done["item"]
            assert added["item"]["id"] == "mine"
        await client.send("response.create", response=response)
        await client.until(DONE)

    talk(start().port, one)
    assert engine.asked == [asked]


def test_an_answer_may_be_short_or_impossible_and_things_go_on(start) -> None:
    async def two(client) -> None:
        asked = {"instructions": "What is it?", "max_output_tokens": 2}
        await client.send("response.create", response=asked)
        response = (await client.until(DONE))[-1]["response"]
        assert response["status"] == "incomplete"
        assert response["status_details"]["reason"] == "max_output_tokens"
        assert response["output"][0]["content"][0]["text"] == "a boat"
        await client.send("response.create", response={"instructions": "too long"})
        events = await client.until(DONE)
        assert kinds(events) == ["response.created", DONE]
        assert events[-1]["response"]["status"] == "failed"
        assert "too long" in events[-1]["response"]["status_details"]["error"]["message"]
        await client.send("response.create", response={"instructions": "What is it?"})
        assert (await client.until(DONE))[-1]["response"]["status"] == "completed"

    talk(start().port, two)


def test_one_answer_at_a_time_and_it_can_be_cancelled(start, engine) -> None:
    engine.go.clear()

    async def two(client) -> None:
        await client.send("response.cancel")
        assert (await client.next())["error"]["code"] == "no_response"
        await client.send("response.create", response={"instructions": "What is it?"})
        created = await client.next()
        await client.send("response.create", response={"instructions": "And that?"})
        error = await client.next()
        assert error["error"]["code"] == "conversation_already_has_active_response"
        await client.send("response.cancel", response_id="another")
        assert (await client.next())["error"]["code"] == "no_response"
        await client.send("response.cancel", response_id=created["response"]["id"])
        # Its answer to an event that comes later says that the cancel was read.
        await client.send("nothing")
        await client.until("error")
        engine.go.set()
        response = (await client.until(DONE))[-1]["response"]
        assert response["status"] == "cancelled"
        assert response["status_details"]["reason"] == "client_cancelled"
        await client.send("response.create", response={"instructions": "And that?"})
        assert (await client.until(DONE))[-1]["response"]["status"] == "completed"

    talk(start().port, two)


@pytest.mark.parametrize(
    ("response", "param"),
    [
        ({}, "response"),
        ("now", "response"),
        ({"instructions": " "}, "response"),
        ({"instructions": 3}, "response.instructions"),
        ({"instructions": "x" * 5000}, "response.instructions"),
        ({"instructions": "a", "output_modalities": ["audio"]}, "response.output_modalities"),
        ({"instructions": "a", "tools": [{"type": "function"}]}, "response.tools"),
        ({"instructions": "a", "max_output_tokens": 0}, "response.max_output_tokens"),
        ({"instructions": "a", "max_output_tokens": True}, "response.max_output_tokens"),
        ({"instructions": "a", "max_output_tokens": {}}, "response.max_output_tokens"),
        ({"instructions": "a", "temperature": 1}, "response.temperature"),
        ({"instructions": "a", "input": [text_item("b")]}, "response.instructions"),
        ({"input": "b"}, "response.input"),
        ({"input": [3]}, "response.input[0]"),
        ({"input": [{"type": "item_reference", "id": "a"}]}, "response.input[0].type"),
        ({"input": [text_item("b") | {"role": "system"}]}, "response.input[0].role"),
        ({"input": [text_item("b") | {"content": []}]}, "response.input[0].content"),
        (
            {"input": [text_item("b") | {"content": [{"type": "input_audio", "audio": ""}]}]},
            "response.input[0].content[0].type",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_honoured_is_refused_by_name(dialect, response, param) -> None:
    error = dialect.refusal("response.create", response=response)
    assert error["param"] == param
