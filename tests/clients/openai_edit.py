# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""The official openai package, unmodified, edits and varies pictures of a running ALICE.

Called with the server's base address; exits with an assertion when an answer is not what the package's users rely
on.
"""

import base64
import io
import struct
import sys
import zlib

import openai

PNG = b"\x89PNG\r\n\x1a\n"


def png(width: int, height: int, pixel) -> bytes:
    """A file of RGBA pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(value for x in range(width) for value in pixel(x, y)) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return PNG + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def file(data: bytes) -> io.BytesIO:
    named = io.BytesIO(data)
    named.name = "picture.png"
    return named


def main(base: str) -> None:
    client = openai.OpenAI(base_url=f"{base}/v1", api_key="not checked", max_retries=0)
    picture = png(96, 64, lambda x, y: (x * 2, y * 3, 90, 255))
    mask = png(96, 64, lambda x, y: (0, 0, 0, 0 if x < 48 else 255))

    # One picture is sent as `image`, a list of them as `image[]`.
    for image in (file(picture), [file(picture)]):
        answer = client.images.edit(
            model="gpt-image-1",
            image=image,
            mask=file(mask),
            prompt="a red apple",
            size="128x128",
            n=2,
            input_fidelity="high",
            extra_body={"strength": 0.5, "seed": 7, "steps": 4},
        )
        assert len(answer.data) == 2 and answer.size == "128x128"
        assert all(base64.b64decode(picture.b64_json).startswith(PNG) for picture in answer.data)
        assert answer.x_alice["mask_polarity"] == "transparent" and answer.x_alice["strength"] == 0.5
        assert answer.x_alice["mode"] == "img2img" and answer.x_alice["seed"] == 7

    answer = client.images.create_variation(image=file(picture), n=1, size="256x256", response_format="b64_json")
    assert base64.b64decode(answer.data[0].b64_json).startswith(PNG)

    events = list(
        client.images.edit(
            model="gpt-image-1", image=file(picture), prompt="a red apple", stream=True, partial_images=1
        )
    )
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
    assert all(base64.b64decode(event.b64_json).startswith(PNG) for event in events)

    for image, extra, param in [
        ([file(picture), file(picture)], {}, "image"),
        (file(b"no picture"), {}, "image"),
        (file(picture), {"strength": 2}, "strength"),
    ]:
        try:
            client.images.edit(model="gpt-image-1", image=image, prompt="x", extra_body=extra)
        except openai.BadRequestError as error:
            assert error.param == param and error.body["message"], error
        else:
            raise AssertionError(f"{param} was accepted")


if __name__ == "__main__":
    main(*sys.argv[1:])
