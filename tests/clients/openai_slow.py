# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""The official openai package, unmodified, against an ALICE that takes a tenth of a second for each step and begins
its answers after two.

Called with the server's base address; exits with an assertion when an answer is not what the package's users rely
on.
"""

import base64
import sys

import openai

PNG = b"\x89PNG\r\n\x1a\n"


def jobs(client: openai.OpenAI) -> list:
    return client.get("/jobs", cast_to=object)["data"]


def streams(client: openai.OpenAI) -> None:
    stream = client.images.generate(
        model="gpt-image-1", prompt="a red apple", stream=True, partial_images=2, extra_body={"steps": 10}
    )
    events = list(stream)
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ], events
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert events[2].usage.total_tokens == events[2].usage.input_tokens_details.text_tokens == 0
    for event in events:
        assert base64.b64decode(event.b64_json).startswith(PNG) and event.output_format == "png"


def retries(client: openai.OpenAI) -> None:
    before = len(jobs(client))
    hasty = client.with_options(timeout=1.0, max_retries=5)
    answer = hasty.images.generate(
        model="gpt-image-1", prompt="a pear", extra_body={"steps": 25, "guidance_scale": 1.0}
    )
    assert base64.b64decode(answer.data[0].b64_json).startswith(PNG)
    assert len(jobs(client)) == before + 1, "each try made a job of its own"


def begins_early(client: openai.OpenAI) -> None:
    raw = client.images.with_raw_response.generate(
        model="gpt-image-1", prompt="a plum", extra_body={"steps": 30, "guidance_scale": 1.0}
    )
    assert raw.http_response.text.startswith("\n"), "the answer did not begin early"
    assert base64.b64decode(raw.parse().data[0].b64_json).startswith(PNG)
    assert jobs(client)[0]["id"] == raw.headers["x-alice-job"]


def main(base: str) -> None:
    client = openai.OpenAI(base_url=f"{base}/v1", api_key="not checked", max_retries=0)
    streams(client)
    retries(client)
    begins_early(client)


if __name__ == "__main__":
    main(*sys.argv[1:])
