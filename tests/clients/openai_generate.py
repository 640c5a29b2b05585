# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""The official openai package, unmodified, against a running ALICE.

Called with the server's base address, and a key if the server demands one; exits with an assertion when an
answer is not what the package's users rely on.
"""

import base64
import sys
import urllib.request

import openai

PNG = b"\x89PNG\r\n\x1a\n"


def main(base: str, key: str | None = None) -> None:
    if key:
        stranger = openai.OpenAI(base_url=f"{base}/v1", api_key="not a key", max_retries=0)
        try:
            stranger.images.generate(model="gpt-image-1", prompt="a red apple")
        except openai.AuthenticationError as error:
            assert error.code == "invalid_api_key"
        else:
            raise AssertionError("a wrong key was accepted")

    client = openai.OpenAI(base_url=f"{base}/v1", api_key=key or "not checked", max_retries=0)

    models = [model.id for model in client.models.list()]
    assert "sd/alice-emoji" in models, models

    answer = client.images.generate(model="gpt-image-1", prompt="a red apple", size="512x512", n=2)
    assert len(answer.data) == 2
    for picture in answer.data:
        assert base64.b64decode(picture.b64_json).startswith(PNG)
    assert answer.size == "512x512" and answer.output_format == "png"

    # ALICE's own parameters travel in extra_body, as users of other servers know it.
    same = [
        client.images.generate(
            model="dall-e-3", prompt="a red apple", response_format="url", extra_body={"seed": 7, "steps": 4}
        )
        for _ in range(2)
    ]
    files = [urllib.request.urlopen(answer.data[0].url).read() for answer in same]
    assert files[0] == files[1] and files[0].startswith(PNG)

    for request, kind in [
        ({"prompt": "x", "model": "nothing-like-it"}, openai.NotFoundError),
        ({"prompt": "", "model": "dall-e-2"}, openai.BadRequestError),
        ({"prompt": "x", "model": "dall-e-2", "size": "100000x100000"}, openai.BadRequestError),
    ]:
        try:
            client.images.generate(**request)
        except kind as error:
            assert error.body["message"], request
        else:
            raise AssertionError(f"{request} was accepted")

    chat = client.chat.completions.create(
        model="sd/alice-emoji",
        messages=[{"role": "user", "content": "a red apple"}],
        extra_body={"sam_config": {"steps": 4, "seed": 3}},
    )
    assert chat.choices[0].finish_reason == "stop" and chat.usage.total_tokens == 0
    url = chat.choices[0].message.image_urls[0]
    assert urllib.request.urlopen(url).read().startswith(PNG)


if __name__ == "__main__":
    main(*sys.argv[1:])
