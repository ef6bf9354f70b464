"""A classifier behind FastAPI, as one writes it in an afternoon: JPEG in, five labels out.

It does the job of `POST /v1/models/{model}/infer` with a photo, and nothing else of dyno-server. Settings come from
the environment: MODEL (ONNX), SIZE, MEAN, STD (of pixels from 0 to 1), THREADS (of one inference).
"""

import io
import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image

SIZE = int(os.environ.get("SIZE", "224"))
MEAN = np.array([float(x) for x in os.environ.get("MEAN", "0.485,0.456,0.406").split(",")], np.float32)
STD = np.array([float(x) for x in os.environ.get("STD", "0.229,0.224,0.225").split(",")], np.float32)
TOP = 5

options = ort.SessionOptions()
options.intra_op_num_threads = int(os.environ.get("THREADS", "1"))
options.inter_op_num_threads = 1
session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
input_name = session.get_inputs()[0].name
app = FastAPI()


def classify(photo: bytes) -> list[dict]:
    image = Image.open(io.BytesIO(photo)).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    pixels = (np.asarray(image, np.float32) / 255.0 - MEAN) / STD
    logits = session.run(None, {input_name: pixels.transpose(2, 0, 1)[None]})[0][0]
    exp = np.exp(logits - logits.max())
    scores = exp / exp.sum()
    best = np.argsort(scores)[::-1][:TOP]
    return [{"index": int(i), "score": float(scores[i])} for i in best]


@app.post("/infer")
async def infer(request: Request):
    photo = await request.body()
    try:
        # In a thread, as FastAPI's own documentation has it for blocking work.
        return {"top": await run_in_threadpool(classify, photo)}
    except OSError as error:
        raise HTTPException(400, "not a photo") from error
