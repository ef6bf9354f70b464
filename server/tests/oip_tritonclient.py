"""The server as `tritonclient` sees it, which nobody here wrote: run by scripts/test-oip.sh.

Health, metadata, and inference with JSON and with bytes, compared with what /v1 answers for the same
picture over HTTP/2.
"""

import sys
import zlib
from struct import pack

import httpx
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

MODEL = "shapes12"
MEAN, STD = 0.5, 0.25  # models/shapes12.toml


def picture(height, width):
    """Pixels that no two neighbours share, and the same ones as a PNG."""
    pixels = np.random.default_rng(12).integers(0, 256, (height, width, 3), dtype=np.uint8)

    def chunk(name, data):
        return pack(">I", len(data)) + name + data + pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return pixels, png


def refused(call, expected):
    try:
        call()
    except InferenceServerException as error:
        assert expected in str(error), error
        return
    raise AssertionError(f"nothing was said of {expected!r}")


def main(oip, phones):
    client = triton.InferenceServerClient(oip)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(MODEL)
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    about = client.get_model_metadata(MODEL)
    (given,), (taken,) = about["inputs"], about["outputs"]
    (version,) = about["versions"]
    assert client.is_model_ready(MODEL, version) and not client.is_model_ready(MODEL, "1")

    pixels, png = picture(*given["shape"][2:])
    tensor = ((pixels / np.float32(255) - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)[None]
    with httpx.Client(http1=False, http2=True) as phone:
        answer = phone.post(
            f"http://{phones}/v1/models/{MODEL}/infer",
            content=png,
            headers={
                "content-type": "image/png",
                "dyno-photo": "staged",
                "accept": "application/vnd.dyno.outputs",
            },
        )
    answer.raise_for_status()
    expected = np.frombuffer(answer.content, dtype="<f4").reshape(taken["shape"])

    tensor = np.ascontiguousarray(tensor, dtype=np.float32)
    for binary_in in (True, False):
        sent = triton.InferInput(given["name"], given["shape"], "FP32")
        sent.set_data_from_numpy(tensor, binary_data=binary_in)
        for asked in (
            None,
            [triton.InferRequestedOutput(taken["name"], binary_data=True)],
            [triton.InferRequestedOutput(taken["name"], binary_data=False)],
        ):
            result = client.infer(MODEL, [sent], outputs=asked, request_id="a-7", model_version=version)
            got = result.as_numpy(taken["name"])
            assert result.get_response()["id"] == "a-7"
            assert got.shape == tuple(taken["shape"]) and got.dtype == np.float32
            np.testing.assert_allclose(got, expected, atol=1e-4, rtol=1e-4)
            assert got.argmax() == expected.argmax()

    client.infer(MODEL, [sent], timeout=5_000_000)
    refused(lambda: client.infer(MODEL, [sent], timeout=1), "")
    refused(lambda: client.infer(MODEL, [sent], priority=3), "priority")
    refused(lambda: client.infer(MODEL, [sent], sequence_id=7), "sequence_")
    refused(lambda: client.infer(MODEL, [sent], request_compression_algorithm="gzip"), "content-encoding")
    refused(lambda: client.infer("other", [sent]), "no such model")
    refused(lambda: client.infer(MODEL, [sent], model_version="1"), "version")
    wrong = triton.InferInput(given["name"], [1, 3, 2, 2], "FP32")
    wrong.set_data_from_numpy(np.zeros((1, 3, 2, 2), np.float32))
    refused(lambda: client.infer(MODEL, [wrong]), "shape")
    halves = triton.InferInput(given["name"], given["shape"], "FP16")
    halves.set_data_from_numpy(tensor.astype(np.float16))
    refused(lambda: client.infer(MODEL, [halves]), "FP16")
    asked = [triton.InferRequestedOutput(taken["name"], class_count=3)]
    refused(lambda: client.infer(MODEL, [sent], outputs=asked), "classification")
    assert client.is_server_live()


if __name__ == "__main__":
    main(*sys.argv[1:])
